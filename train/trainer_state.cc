// The training state of a Trainer, as whole tensors.
#include <algorithm>
#include <map>
#include <utility>

#include "base/config.h"
#include "base/status.h"
#include "base/strings.h"
#include "checkpoint/load.h"
#include "ops/elementwise.h"
#include "optim/precision.h"
#include "train/agreement.h"
#include "train/model_precision.h"
#include "train/trainer.h"

namespace choir {
namespace {

Tensor Flat(const Tensor& x) { return x.Reshape({x.NumElements()}); }

}  // namespace

std::string CodeVersion() { return CHOIR_VERSION; }

bool Trainer::ValueByOptimizer(const ModelEntry& entry) const {
  if (PrecisionOf(config_, entry.name, entry.placement.shape).master) return true;
  return StorageOf(place_, entry.placement, layout_.zero) == ParameterStorage::kShardsOnly;
}

Tensor Trainer::StoredValue(const Parameter& parameter) const {
  if (parameter.sharded == nullptr) return Flat(parameter.value);
  const std::span<const Shard> shards = std::as_const(*gradients_).shards();
  const auto shard = std::find_if(shards.begin(), shards.end(),
                                  [&](const Shard& s) { return s.parameter == &parameter; });
  CHECK(shard != shards.end()) << parameter.name;
  return shard->value;
}

Trainer::StateTensor Trainer::Spread(const ModelEntry& entry, const std::string& name,
                                     bool sharded) const {
  return {
      name,
      {entry.placement, entry.pipe, sharded ? gradients_->ShardAxes(entry.placement) : AxisSet()},
      {}};
}

std::vector<Trainer::StateTensor> Trainer::State() {
  std::map<std::string, size_t> mine;
  for (size_t i = 0; i < optimizer_.size(); ++i) {
    mine[optimizer_.target(i).parameter->name] = i;
  }
  std::vector<StateTensor> state;
  for (const ModelEntry& entry : whole_model_) {
    // The last stage has a copy of a tied table; the first stage's counts.
    const auto found = mine.find(entry.name);
    const bool here = found != mine.end() && entry.pipe == place_.Coord(Axis::kPipe);
    state.push_back(Spread(entry, "model/" + entry.name, ValueByOptimizer(entry)));
    if (here) ReadValue(state.back(), entry, found->second);
    const ParameterForm form = FormOf(entry.placement.shape, entry.matrices);
    for (const auto& name : StateNamesOf(SettingsOf(config_.optim, entry.name, form).kind)) {
      ModelEntry of_state = entry;
      of_state.placement = StatePlacement(name, entry.placement, entry.matrices);
      state.push_back(Spread(of_state, StrCat("optim/", entry.name, "/", name), true));
      if (here) ReadMoment(state.back(), found->second, name);
    }
    if (average_ == nullptr) continue;
    state.push_back(Spread(entry, "ema/" + entry.name, true));
    if (here) ReadAverage(state.back(), found->second);
  }
  if (config_.model.moe.bias_speed <= 0) return state;
  for (const ModelEntry& entry : whole_model_) {
    if (!entry.name.ends_with("moe.router")) continue;
    ModelEntry of_bias = entry;
    of_bias.placement = {{config_.model.moe.experts}, {}};
    StateTensor bias = Spread(of_bias, "model/" + entry.name + "_bias", false);
    for (const MixtureOfExperts* moe : model_.experts()) {
      if (moe->router.name == entry.name) bias.mine = moe->bias;
    }
    state.push_back(std::move(bias));
  }
  return state;
}

// The master where there is one, else the value, in F32.
void Trainer::ReadValue(StateTensor& to, const ModelEntry& entry, size_t target) {
  if (ValueByOptimizer(entry)) {
    to.mine = optimizer_.ReadValue(target);
    to.write = [this, target](const Tensor& values) { optimizer_.WriteValue(target, values); };
    return;
  }
  const Tensor stored = StoredValue(*optimizer_.target(target).parameter);
  to.mine = stored;
  if (stored.dtype() == ComputeDType(stored.dtype())) return;
  to.mine =
      Tensor::Empty(stored.shape(), {DType::kF32, stored.device(), MemoryCategory::kWorkspace});
  ConvertInto(to.mine, stored);
  to.write = [stored](const Tensor& values) { ConvertInto(stored, values); };
}

void Trainer::ReadAverage(StateTensor& to, size_t target) {
  to.mine = average_->Average(target);
  to.write = [this, target](const Tensor& values) { average_->Write(target, values); };
}

void Trainer::ReadMoment(StateTensor& to, size_t target, const std::string& name) {
  to.mine = optimizer_.ReadState(target, name);
  to.write = [this, target, name](const Tensor& values) {
    optimizer_.WriteState(target, name, values);
  };
}

std::vector<Trainer::StateTensor> Trainer::Gradients() const {
  std::vector<StateTensor> gradients;
  for (const ModelEntry& entry : whole_model_) {
    StateTensor grad = Spread(entry, "grad/" + entry.name, true);
    for (const Shard& shard : gradients_->shards()) {
      if (shard.parameter->name != entry.name || entry.pipe != place_.Coord(Axis::kPipe)) continue;
      grad.mine = shard.grad;
      break;  // behind it may be a tied head of the same name
    }
    gradients.push_back(std::move(grad));
  }
  return gradients;
}

CheckpointContents Trainer::SaveState() {
  CheckpointContents contents;
  contents.step = step_;
  contents.config = ConfigDump(config_);
  contents.code_version = CodeVersion();
  for (const StateTensor& t : State()) {
    const Tensor whole = Assemble(place_, t.spreading, t.mine, DType::kF32);
    if (whole.defined()) contents.tensors.push_back({t.name, whole});
  }
  contents.state = {{"step", step_},
                    {"tokens", tokens_},
                    {"optimizer_step", optimizer_.step()},
                    {"loss_scale", loss_scale_.scale},
                    {"loss_scale_good_steps", loss_scale_.good_steps},
                    {"skipped_steps", loss_scale_.skipped},
                    {"data_digest", ToHex(source_.loader->digest())}};
  if (average_ != nullptr) contents.state["ema_updates"] = average_->updates();
  contents.blobs["data"] = source_.loader->SaveState();
  return contents;
}

absl::Status Trainer::RestoreState(const Checkpoint& checkpoint) {
  const nlohmann::json& state = checkpoint.manifest.state;
  for (const char* key : {"step", "tokens", "optimizer_step"}) {
    if (!state.contains(key) || !state[key].is_number_integer()) {
      return absl::DataLossError(StrCat(checkpoint.path, "/manifest.json: state has no ", key));
    }
  }
  ASSIGN_OR_RETURN(auto blobs, LoadBlobs(checkpoint));
  if (!blobs.contains("data")) {
    return absl::DataLossError(StrCat(checkpoint.path, ": has no state of the data"));
  }
  RETURN_IF_ERROR(source_.loader->RestoreState(blobs["data"]));
  // Every rank reads whole tensors and keeps its part.
  const std::vector<StateTensor> parts = State();
  std::vector<NamedTensor> whole;
  const bool alone = place_.mesh().size() == 1;
  for (const StateTensor& t : parts) {
    const Shape& shape = t.spreading.placement.shape;
    whole.push_back({t.name, alone ? t.mine.Reshape(shape)
                                   : Tensor::Empty(shape, {DType::kF32, Device::kCpu,
                                                           MemoryCategory::kWorkspace})});
  }
  RETURN_IF_ERROR(LoadTensors(checkpoint, whole));
  if (alone) {
    for (const StateTensor& t : parts) {
      if (t.write) t.write(t.mine);
    }
  } else {
    size_t next = 0;  // in the same order
    SetState([&](const std::string&) { return whole[next++].tensor; });
  }
  step_ = state["step"].get<int64_t>();
  tokens_ = state["tokens"].get<int64_t>();
  optimizer_.set_step(state["optimizer_step"].get<int64_t>());
  RestoreLossScale(state);
  if (average_ != nullptr) average_->set_updates(state.value("ema_updates", int64_t{0}));
  return absl::OkStatus();
}

// A run that scaled no loss before starts as the config says; one that no longer does keeps none.
void Trainer::RestoreLossScale(const nlohmann::json& state) {
  const auto number = [&state](const char* key, double otherwise) {
    return state.contains(key) && state[key].is_number() ? state[key].get<double>() : otherwise;
  };
  loss_scale_.skipped = static_cast<int64_t>(number("skipped_steps", 0));
  const double scale = number("loss_scale", 1);
  if (!ScalesLoss(config_.precision) || scale == 1) return;
  loss_scale_.scale = scale;
  loss_scale_.good_steps = static_cast<int64_t>(number("loss_scale_good_steps", 0));
}

void Trainer::SetState(const std::function<Tensor(const std::string& name)>& whole) {
  weights_.Release();
  for (const StateTensor& t : State()) {
    const Tensor tensor = whole(t.name);
    CHECK(tensor.defined()) << t.name;
    if (t.mine.defined()) CopyShard(place_, t.spreading, tensor, t.mine);
    if (t.write) t.write(t.mine);
    RestoreTiedHead(t, tensor);
  }
  // A rank has written its shard of a value that follows a master.
  gradients_->GatherValues();
}

Trainer::StateTensor Trainer::TiedCopy() {
  StateTensor value;
  const auto table = std::find_if(whole_model_.begin(), whole_model_.end(),
                                  [](const ModelEntry& e) { return e.name == "embedding"; });
  for (size_t i = 0; i < optimizer_.size() && model_.embedding() == nullptr; ++i) {
    if (optimizer_.target(i).parameter == model_.tied_head()) ReadValue(value, *table, i);
  }
  return value;
}

// The last stage's copy of a tied table, and its moments.
void Trainer::RestoreTiedHead(const StateTensor& t, const Tensor& whole) {
  if (model_.tied_head() == nullptr || model_.embedding() != nullptr) return;
  for (size_t i = 0; i < optimizer_.size(); ++i) {
    if (optimizer_.target(i).parameter != model_.tied_head()) continue;
    const auto restore = [&](StateTensor copy) {
      CopyShard(place_, t.spreading, whole, copy.mine);
      if (copy.write) copy.write(copy.mine);
    };
    if (t.name == "model/embedding") restore(TiedCopy());
    for (const std::string& name : optimizer_.StateNames(i)) {
      if (t.name != "optim/embedding/" + name) continue;
      StateTensor copy;
      ReadMoment(copy, i, name);
      restore(copy);
    }
    if (t.name == "ema/embedding") {
      CopyShard(place_, t.spreading, whole, average_->Average(i));
    }
  }
}

}  // namespace choir
