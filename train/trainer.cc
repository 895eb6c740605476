#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/config.h"
#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"
#include "checkpoint/load.h"
#include "eval/model_input.h"
#include "ops/elementwise.h"
#include "ops/parallel_for.h"
#include "optim/schedule.h"
#include "train/recompute.h"

namespace choir {
namespace {

std::vector<Parameter*> Pointers(const Transformer& model) {
  std::vector<Parameter*> parameters;
  for (const auto& entry : model.parameters()) parameters.push_back(entry.parameter);
  return parameters;
}

void AddCounts(std::vector<int64_t>& to, const std::vector<int64_t>& from) {
  to.resize(std::max(to.size(), from.size()));
  for (size_t i = 0; i < from.size(); ++i) to[i] += from[i];
}

// Busiest over mean; 0 when no token was routed.
double LoadRatio(const std::vector<int64_t>& tokens) {
  const int64_t total = std::accumulate(tokens.begin(), tokens.end(), int64_t{0});
  if (total == 0) return 0;
  return static_cast<double>(*std::max_element(tokens.begin(), tokens.end())) *
         static_cast<double>(tokens.size()) / static_cast<double>(total);
}

}  // namespace

absl::StatusOr<RunConfig> ResolveConfig(const RunConfig& config, int64_t tokenizer_vocab) {
  RunConfig resolved = config;
  if (!resolved.model.vocab_size) resolved.model.vocab_size = tokenizer_vocab;
  if (*resolved.model.vocab_size < tokenizer_vocab) {
    return absl::FailedPreconditionError(
        StrCat("model.vocab_size ", *resolved.model.vocab_size, " is smaller than the tokenizer's ",
               tokenizer_vocab, " (", config.data.path, "); set it to auto"));
  }
  return resolved;
}

std::string CodeVersion() { return CHOIR_VERSION; }

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Make(const RunConfig& config) {
  SetNumThreads(config.train.threads.value_or(0));
  ASSIGN_OR_RETURN(auto loader, BatchLoader::Open(config.data));
  ASSIGN_OR_RETURN(auto validation, ValidationSet::Open(config.data));
  ASSIGN_OR_RETURN(const RunConfig resolved, ResolveConfig(config, loader->vocab_size()));
  RETURN_IF_ERROR(CheckRecompute(resolved));
  auto trainer =
      std::unique_ptr<Trainer>(new Trainer(resolved, std::move(loader), std::move(validation)));
  trainer->model_.Initialize(static_cast<uint64_t>(config.train.seed));
  return trainer;
}

Trainer::Trainer(const RunConfig& config, std::unique_ptr<BatchLoader> loader,
                 std::unique_ptr<ValidationSet> validation)
    : config_(config),
      loader_(std::move(loader)),
      validation_(std::move(validation)),
      model_(config.model, *config.model.vocab_size, {DType::kF32, Device::kCpu}),
      parameters_(Pointers(model_)),
      optimizer_(config.optim, parameters_),
      flops_(CountFlops(config.model, *config.model.vocab_size)),
      recompute_(MakeRecomputePolicy(config.train.recompute)) {}

absl::StatusOr<StepReport> Trainer::Step() {
  SetLogStep(step_ + 1);
  const double waited_before = loader_->seconds_waited();
  ASSIGN_OR_RETURN(const Batch batch, loader_->Next(BatchRows(config_, step_)));

  ZeroGradients();
  Accumulated sums;
  sums.language_nll.resize(loader_->languages().size());
  sums.expert_tokens.resize(model_.experts().size());
  const int64_t micro = config_.MicrobatchSequences();
  for (int64_t row = 0; row < batch.rows; row += micro) {
    RunMicrobatch(batch, row, std::min(micro, batch.rows - row), sums);
  }

  StepReport report = Report(batch, sums);
  report.grad_norm = GlobalGradNorm(parameters_);
  RETURN_IF_ERROR(CheckFinite(report.grad_norm));
  report.lr = config_.optim.lr * ScheduleFactor(config_.optim.schedule, step_, config_.train.steps);
  optimizer_.Step(report.lr, ClipScale(report.grad_norm, config_.optim.clip_norm));
  for (size_t i = 0; i < model_.experts().size(); ++i) {
    model_.experts()[i]->UpdateBias(sums.expert_tokens[i]);
  }

  report.step = ++step_;
  report.tokens = tokens_ += batch.num_labels;
  report.data_wait_s = loader_->seconds_waited() - waited_before;
  return report;
}

void Trainer::ZeroGradients() {
  for (const Parameter* p : parameters_) p->grad.Zero();
}

void Trainer::RunMicrobatch(const Batch& batch, int64_t first, int64_t rows, Accumulated& sums) {
  const ModelInput input = MicrobatchInput(batch, first, rows);
  Tape tape;
  tape.SetRecomputePolicy(recompute_);
  ModelLoss loss =
      model_.Loss(tape, input, 1.0 / static_cast<double>(std::max<int64_t>(1, batch.num_labels)));
  tape.RunBackward(loss.total, ScalarTensor(1, loss.total.tensor().options()));

  const float* nll = loss.token_nll.tensor().data<float>();
  const int32_t* language = batch.language.data<int32_t>() + first * batch.length;
  for (int64_t i = 0; i < rows * batch.length; ++i) {
    if (language[i] != kNoLanguage) {
      sums.language_nll[static_cast<size_t>(language[i])] += static_cast<double>(nll[i]);
    }
  }
  for (size_t i = 0; i < loss.routing.size(); ++i) {
    AddCounts(sums.expert_tokens[i], loss.routing[i].expert_tokens);
    for (const Var& term : loss.routing[i].losses) sums.balance_loss += ScalarValue(term.tensor());
  }
  sums.pairs += VisiblePairs(input);
}

absl::Status Trainer::CheckFinite(double grad_norm) const {
  if (std::isfinite(grad_norm)) return absl::OkStatus();
  for (const Parameter* p : parameters_) {
    if (AllFinite(p->grad)) continue;
    return absl::OutOfRangeError(
        StrCat("step ", step_ + 1, ": the gradient of ", p->name,
               " is not finite; nothing was updated. Resume from the last checkpoint with a lower "
               "optim.lr, or look at the data of this step"));
  }
  return absl::OutOfRangeError(
      StrCat("step ", step_ + 1, ": the norm of the gradient overflows; nothing was updated"));
}

StepReport Trainer::Report(const Batch& batch, const Accumulated& sums) const {
  StepReport report;
  report.step_labels = batch.num_labels;
  const double nll = std::accumulate(sums.language_nll.begin(), sums.language_nll.end(), 0.0);
  report.loss = nll / static_cast<double>(batch.num_labels);
  report.balance_loss = sums.balance_loss;
  report.flops = flops_.Training(static_cast<double>(batch.num_labels), sums.pairs);
  report.padding =
      1 - static_cast<double>(batch.num_labels) / static_cast<double>(batch.rows * batch.length);
  report.language_tokens = batch.language_tokens;
  for (size_t i = 0; i < sums.language_nll.size(); ++i) {
    const int64_t n = batch.language_tokens[i];
    report.language_loss.push_back(n > 0 ? sums.language_nll[i] / static_cast<double>(n)
                                         : std::numeric_limits<double>::quiet_NaN());
  }
  for (const auto& tokens : sums.expert_tokens) report.expert_load.push_back(LoadRatio(tokens));
  report.data_digest = ToHex(batch.digest);
  return report;
}

std::vector<NamedTensor> Trainer::StateTensors() const {
  std::vector<NamedTensor> tensors;
  for (const AdamW::State& s : optimizer_.states()) {
    tensors.push_back({"model/" + s.parameter->name, s.parameter->value});
    tensors.push_back({"optim/" + s.parameter->name + "/m", s.m});
    tensors.push_back({"optim/" + s.parameter->name + "/v", s.v});
  }
  for (const MixtureOfExperts* moe : model_.experts()) {
    if (moe->bias.defined()) tensors.push_back({"model/" + moe->router.name + "_bias", moe->bias});
  }
  return tensors;
}

CheckpointContents Trainer::SaveState() const {
  CheckpointContents contents;
  contents.step = step_;
  contents.config = ConfigDump(config_);
  contents.code_version = CodeVersion();
  contents.tensors = StateTensors();
  contents.state = {{"step", step_},
                    {"tokens", tokens_},
                    {"optimizer_step", optimizer_.step()},
                    {"data_digest", ToHex(loader_->digest())}};
  contents.blobs["data"] = loader_->SaveState();
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
  RETURN_IF_ERROR(loader_->RestoreState(blobs["data"]));
  std::vector<NamedTensor> tensors = StateTensors();
  RETURN_IF_ERROR(LoadTensors(checkpoint, tensors));
  step_ = state["step"].get<int64_t>();
  tokens_ = state["tokens"].get<int64_t>();
  optimizer_.set_step(state["optimizer_step"].get<int64_t>());
  return absl::OkStatus();
}

}  // namespace choir
