#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/fault.h"
#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"
#include "eval/model_input.h"
#include "ops/elementwise.h"
#include "ops/parallel_for.h"
#include "optim/clip.h"
#include "train/agreement.h"
#include "train/auto_layout.h"
#include "train/length_ramp.h"
#include "train/meta_input.h"
#include "train/model_precision.h"
#include "train/recompute.h"
#include "train/recompute_budget.h"

namespace choir {
namespace {

constexpr int kTiedGradientTag = (1 << 16) - 1;

// Busiest over mean; 0 when no token was routed.
double LoadRatio(const std::vector<int64_t>& tokens) {
  const int64_t total = std::accumulate(tokens.begin(), tokens.end(), int64_t{0});
  if (total == 0) return 0;
  return static_cast<double>(*std::max_element(tokens.begin(), tokens.end())) *
         static_cast<double>(tokens.size()) / static_cast<double>(total);
}

// Of the part of the gradient that this rank alone has (its copies are sums that all ranks share).
void Overflow(std::span<Shard> shards) {
  const auto own = std::find_if(shards.begin(), shards.end(), [](const Shard& shard) {
    return shard.counts && shard.grad.NumElements() > 0;
  });
  own->grad.data<float>()[0] = std::numeric_limits<float>::infinity();
}

// All ranks get the same rules.
absl::StatusOr<RunConfig> WithinBudget(const RunConfig& config, World* world) {
  if (!HasBudget(config)) return config;
  BudgetRequest request;
  if (world != nullptr) {
    request.world = world->size();
    request.node_size = world->node_size();
  }
  ASSIGN_OR_RETURN(const double bytes, RankBytes(config.parallel, world));
  request.bytes = static_cast<int64_t>(bytes);
  ASSIGN_OR_RETURN(RunConfig chosen, WithChosenRecompute(config, request));
  if (world == nullptr || world->rank() == 0) {
    std::string rules;
    for (const std::string& rule : chosen.train.recompute) rules += " " + rule;
    LogInfo(StrCat("train.recompute: the budget chose", rules.empty() ? " none" : rules));
  }
  return chosen;
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

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Make(const RunConfig& config, World* world) {
  SetNumThreads(config.train.threads.value_or(0));
  ASSIGN_OR_RETURN(auto loader, BatchLoader::Open(config.data));
  ASSIGN_OR_RETURN(auto validation, ValidationSet::Open(config.data));
  ASSIGN_OR_RETURN(RunConfig resolved, ResolveConfig(config, loader->vocab_size()));
  RETURN_IF_ERROR(CheckRecompute(resolved));
  ASSIGN_OR_RETURN(resolved, WithChosenLayout(resolved, world));
  ASSIGN_OR_RETURN(resolved, WithinBudget(resolved, world));
  ASSIGN_OR_RETURN(const RunLayout layout,
                   PlanLayout(resolved, world != nullptr ? world->size() : 1,
                              world != nullptr ? world->node_size() : 1));
  if (world != nullptr) world->set_options(WorldOptionsOf(resolved));
  auto trainer = std::unique_ptr<Trainer>(new Trainer(
      resolved, layout, world, Source{std::move(loader), std::move(validation), PlannedData()}));
  trainer->Initialize();
  return trainer;
}

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::MakeOnMeta(const RunConfig& config, World* world,
                                                             const PlannedData& data) {
  RETURN_IF_ERROR(CheckRecompute(config));
  const int ranks = world != nullptr ? world->size() : 1;
  CHECK(ranks == 1 || world->dry());
  ASSIGN_OR_RETURN(const RunLayout layout,
                   PlanLayout(config, ranks, world != nullptr ? world->node_size() : 1));
  if (world != nullptr) world->set_options(WorldOptionsOf(config));
  auto trainer = std::unique_ptr<Trainer>(new Trainer(config, layout, world, Source{{}, {}, data}));
  trainer->step_ = data.step.value_or(config.train.steps - 1);
  trainer->optimizer_.set_step(trainer->step_);
  return trainer;
}

Trainer::Trainer(const RunConfig& config, const RunLayout& layout, World* world, Source source)
    : config_(config),
      layout_(layout),
      place_(Mesh(layout.degrees), world, config.numerics, layout.context_method, layout.exchange),
      source_(std::move(source)),
      model_(config.model, *config.model.vocab_size, options(),
             {&place_, layout.stages, StagesOf(layout.schedule, place_.Coord(Axis::kPipe)),
              [this](const Placement& p) { return StorageOf(place_, p, layout_.zero); },
              [this](const std::string& name, const Shape& whole) {
                return PrecisionOf(config_, name, whole).storage;
              }}),
      whole_model_(ListModel()),
      gradients_(std::make_unique<GradientSum>(
          place_, GradientEntries(),
          ZeroOptions{layout.zero,
                      static_cast<int64_t>(config.parallel.bucket_mib * (1 << 20)),
                      {WireFormat(config.precision), static_cast<uint64_t>(config.train.seed)}})),
      weights_(place_, ShardedWeights(), Transformer::kEmbeddingUnit),
      optimizer_(config.optim, Targets(),
                 {.seed = static_cast<uint64_t>(config.train.seed),
                  .stochastic_values = config.precision.stochastic_rounding,
                  .place = &place_}),
      microbatches_(model_, MakeRecomputePolicy(config)),
      flops_(CountFlops(config.model, *config.model.vocab_size)),
      loss_scale_(StartLossScale(config.precision)) {
  ApplyPrecision(config_, model_);
  if (source_.loader != nullptr) {
    source_.loader->SetRows([this](int64_t step) { return RowsOfStep(step); });
  }
  microbatches_.on_tape = [this](Tape& tape, int stage) { Serve(tape, stage); };
  microbatches_.on_weight_grads = [this] { gradients_->EndPass(); };
  microbatches_.capacity_factor = config.parallel.capacity_factor;
  microbatches_.poll = [this] { gradients_->Poll(); };
  if (config.optim.ema.decay) MakeAverage();
}

void Trainer::MakeAverage() {
  std::vector<int64_t> sizes;
  for (size_t i = 0; i < optimizer_.size(); ++i) {
    sizes.push_back(optimizer_.target(i).value.NumElements());
  }
  average_ = std::make_unique<WeightAverage>(config_.optim.ema, sizes, source_.device());
}

void Trainer::Initialize() {
  const auto seed = static_cast<uint64_t>(config_.train.seed);
  model_.Initialize(seed);
  for (size_t i = 0; i < model_.parameters().size(); ++i) {
    const Shard& shard = gradients_->shards()[i];
    const OptimTarget& target = optimizer_.target(i);
    if (shard.parameter->sharded == nullptr && !target.precision.master) continue;
    // A master is drawn too, not widened.
    const Tensor drawn =
        Tensor::Empty(shard.value.shape(),
                      {target.computing(), shard.value.device(), MemoryCategory::kWorkspace});
    DrawInitial(model_.parameters()[i], place_, seed, shard.begin, drawn);
    optimizer_.WriteValue(i, drawn);
  }
}

// Has the weights gathered that the tape is about to use.
void Trainer::Serve(Tape& tape, int stage) {
  const auto [first, last] = model_.UnitsOf(stage);
  weights_.Serve(tape, first, last);
}

// Made stage by stage on the meta device: names and placements cost no memory.
std::vector<Trainer::ModelEntry> Trainer::ListModel() {
  std::vector<ModelEntry> all;
  const Place alone;
  for (int stage = 0; stage < layout_.schedule.stages(); ++stage) {
    const Transformer part(config_.model, *config_.model.vocab_size, {DType::kF32, Device::kMeta},
                           {&alone, layout_.stages, {stage}, nullptr});
    for (const auto& entry : part.parameters()) {
      const bool tied_copy = entry.parameter->name == "embedding" && stage > 0;
      if (tied_copy) continue;
      all.push_back({entry.parameter->name, entry.placement, entry.matrices,
                     StageOwner(layout_.schedule, stage)});
      all.back().placement.cut = CutFor(all.back());
    }
  }
  std::vector<PlannedParameter> planned;
  for (const ModelEntry& e : all) planned.push_back({e.name, e.placement, &e.matrices, e.pipe});
  matrix_plan_ = PlanMatrices(config_.optim, planned, place_.mesh());
  for (size_t i = 0; i < all.size(); ++i) all[i].placement.cut = matrix_plan_.cuts[i];
  return all;
}

// Shards hold whole blocks of 8-bit moments, which lie in rows.
ShardCut Trainer::CutFor(const ModelEntry& entry) const {
  const Shape& whole = entry.placement.shape;
  const bool blocks = PrecisionOf(config_, entry.name, whole).moments == MomentFormat::kInt8;
  return blocks ? ShardCut::Rows(whole.rank() - 1) : entry.placement.cut;
}

std::vector<GradientSum::Entry> Trainer::GradientEntries() {
  std::vector<GradientSum::Entry> entries;
  const auto add = [&](Parameter& parameter) {
    const auto whole = std::find_if(whole_model_.begin(), whole_model_.end(),
                                    [&](const auto& e) { return e.name == parameter.name; });
    CHECK(whole != whole_model_.end()) << parameter.name;
    entries.push_back({&parameter, whole->placement});
  };
  for (const auto& entry : model_.parameters()) add(*entry.parameter);
  // A tied head that shares the embedding's value has a gradient of its own.
  if (model_.tied_head() != nullptr && model_.embedding() != nullptr) {
    add(*model_.tied_head());
  }
  return entries;
}

std::vector<WeightStore::Weight> Trainer::ShardedWeights() {
  std::vector<WeightStore::Weight> weights;
  for (size_t i = 0; i < model_.parameters().size(); ++i) {
    const Shard& shard = gradients_->shards()[i];
    if (shard.parameter->sharded == nullptr) continue;
    weights.push_back({shard.parameter->sharded, shard.value,
                       gradients_->ShardAxes(shard.placement), shard.placement.cut,
                       model_.parameters()[i].units});
  }
  return weights;
}

std::vector<OptimTarget> Trainer::Targets() {
  std::vector<OptimTarget> targets;
  const size_t count = model_.parameters().size();
  for (size_t i = 0; i < count; ++i) {
    const Shard& shard = gradients_->shards()[i];
    const Slice slice =
        LocalSlice(shard.placement.shape, shard.placement.layout, place_.mesh(), place_.rank());
    const ParameterPrecision precision =
        PrecisionOf(config_, shard.parameter->name, shard.placement.shape);
    targets.push_back({shard.parameter,
                       shard.placement,
                       slice,
                       shard.begin,
                       shard.value,
                       shard.grad,
                       {precision.master, precision.moments, precision.moments},
                       model_.parameters()[i].matrices,
                       gradients_->ShardAxes(shard.placement)});
  }
  return targets;
}

absl::StatusOr<StepReport> Trainer::Step() {
  ASSIGN_OR_RETURN(StepReport report, ComputeGradients());
  RETURN_IF_ERROR(Update(report));
  return report;
}

absl::StatusOr<StepReport> Trainer::ComputeGradients() {
  SetLogStep(step_ + 1);
  const auto waited = [this] {
    return source_.loader != nullptr ? source_.loader->seconds_waited() : 0;
  };
  const double waited_before = waited();
  absl::StatusOr<Batch> batch = NextBatch();
  RETURN_IF_ERROR(Agree(place_.world(), batch.status()));
  StepSums sums(batch->language_tokens.size(),
                static_cast<size_t>(model_.config().moe.experts > 0
                                        ? config_.model.layers - config_.model.moe.dense_layers
                                        : 0),
                config_.model.moe.experts);
  int64_t pieces = LengthPieces(config_, step_);
  if (pieces > 1 && place_.Coord(kDataAxes) > 0 && Injected(Fault::kRampOnFirstRankOnly)) {
    pieces = 1;
  }
  if (pieces > 1) *batch = CutRows(*batch, pieces);
  microbatches_.loss_scale = loss_scale_.scale;
  RunMicrobatches(*batch, pieces, sums);
  StepReport report = Report(*batch, sums);
  report.loss_scale = loss_scale_.scale;
  report.data_wait_s = waited() - waited_before;
  if (place_.rank() == 1 && Injected(Fault::kGradientOverflows)) Overflow(gradients_->shards());
  // The gradient of a tied head is in the embedding's.
  norms_ = ComputeGradNorms(place_, gradients_->shards(), model_.tied_head(), config_.optim);
  norms_.Scale(1 / loss_scale_.scale);
  report.grad_norm = norms_.total;
  expert_tokens_ = std::move(sums.expert_tokens);
  return report;
}

// Of the batch of a step (from 0), and which of them this rank trains on.
StepRows Trainer::RowsOfStep(int64_t step) const {
  const int64_t rows = BatchRows(config_, step);
  const MicrobatchShare share = ShareOf(layout_, place_.Coord(kDataAxes), rows, /*pieces=*/1);
  return {rows, [share](int64_t row) {
            const int64_t after_first = row / share.rows - share.first;
            return after_first >= 0 && after_first % share.stride == 0 &&
                   after_first / share.stride < share.count;
          }};
}

absl::StatusOr<Batch> Trainer::NextBatch() {
  if (source_.loader != nullptr) return source_.loader->Next();
  const PlannedData& planned = source_.planned;
  Batch batch = MetaBatch(RowsOfStep(step_), config_.data.sequence_length, planned.bounds);
  batch.language_tokens.assign(static_cast<size_t>(planned.languages), 0);
  return batch;
}

void Trainer::RunMicrobatches(const Batch& batch, int64_t pieces, StepSums& sums) {
  MicrobatchShare share = ShareOf(layout_, place_.Coord(kDataAxes), batch.rows / pieces, pieces);
  if (share.first > 0 && Injected(Fault::kMicrobatchDropped)) --share.count;
  const auto tree = std::make_shared<LeafTree>(share.total, kVirtualPieces);
  ScheduleSpec schedule = layout_.schedule;
  schedule.microbatches = static_cast<int>(share.count);

  gradients_->Begin(tree, share.count, step_ + 1);
  microbatches_.Begin(batch, share, *tree, sums);
  const int pipe_rank = place_.Coord(Axis::kPipe);
  RunActions(
      schedule, RankActions(schedule, pipe_rank),
      schedule.ranks > 1 ? &place_.Group(Axis::kPipe) : nullptr,
      [this](const Handover& h) {
        return BoundaryTensor{microbatches_.HandoverShape(h.microbatch), options()};
      },
      microbatches_);
  microbatches_.End();
  gradients_->Finish();
  AddTiedGradients();
  sums.AllReduce(place_, source_.device());
}

// The gradients of the two uses of a tied table are summed apart and added here, so that it does
// not matter whether they are on one stage.
void Trainer::AddTiedGradients() {
  Parameter* head = model_.tied_head();
  if (head == nullptr && (model_.embedding() == nullptr || !config_.model.tie_embeddings)) return;
  if (model_.num_stages() == 1 && head == nullptr) return;  // one parameter for both
  const std::span<Shard> shards = gradients_->shards();
  if (head != nullptr && model_.embedding() != nullptr) {
    AddInto(shards.front().grad, shards.back().grad);
    return;
  }
  // First and last stage trade their sums.
  Communicator& pipe = place_.Group(Axis::kPipe);
  const bool first = model_.embedding() != nullptr;
  const auto of_head = std::find_if(shards.begin(), shards.end(),
                                    [&](const Shard& shard) { return shard.parameter == head; });
  const Tensor mine = first ? shards.front().grad : of_head->grad;
  const int other = first ? StageOwner(layout_.schedule, layout_.schedule.stages() - 1)
                          : StageOwner(layout_.schedule, 0);
  const Tensor theirs = Tensor::Empty(mine.shape(), mine.options(MemoryCategory::kCommunication));
  const Event received = pipe.Recv(theirs, other, kTiedGradientTag);
  pipe.Send(mine, other, kTiedGradientTag).Wait();
  received.Wait();
  if (!first && Injected(Fault::kTiedHeadMissing)) return;
  AddInto(mine, theirs);
  if (first && Injected(Fault::kTiedHeadTwice)) AddInto(mine, theirs);
}

absl::Status Trainer::Update(StepReport& report) {
  report.lr = config_.optim.lr * ScheduleFactor(config_.optim.schedule, Position(report));
  const bool overflowed = !std::isfinite(report.grad_norm);
  if (overflowed && MaySkip(config_.precision, loss_scale_)) {
    SkipUpdate(report);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(CheckFinite(report.grad_norm));
  weights_.Release();
  const double unscale = 1 / loss_scale_.scale;
  optimizer_.Step(
      {report.lr, unscale * ClipScale(norms_.rest, config_.optim.clip_norm), GroupScales(unscale)});
  gradients_->GatherValues();
  UpdateAverage();
  for (MixtureOfExperts* moe : model_.experts()) {
    moe->UpdateBias(expert_tokens_[static_cast<size_t>(model_.expert_layer(moe->layer))]);
  }
  EndStep(report, /*overflowed=*/false);
  return absl::OkStatus();
}

// All ranks have the same norm, so all skip; one says it.
void Trainer::SkipUpdate(StepReport& report) {
  if (place_.rank() == 0) {
    LogWarning(StrCat("the gradient overflowed at loss scale ", loss_scale_.scale,
                      "; the step is skipped"));
  }
  report.skipped = true;
  EndStep(report, /*overflowed=*/true);
}

void Trainer::EndStep(StepReport& report, bool overflowed) {
  loss_scale_ = NextLossScale(config_.precision, loss_scale_, overflowed);
  report.skipped_steps = loss_scale_.skipped;
  report.step = ++step_;
  report.tokens = tokens_ += report.step_labels;
}

void Trainer::UpdateAverage() {
  if (average_ == nullptr) return;
  average_->Update(optimizer_.step(), [this](size_t i) { return optimizer_.ReadValue(i); });
}

SchedulePosition Trainer::Position(const StepReport& report) const {
  const ScheduleConfig& schedule = config_.optim.schedule;
  if (schedule.unit == ScheduleUnit::kSteps) return AtStep(step_, config_.train.steps);
  return {tokens_, tokens_ + report.step_labels, *schedule.total_tokens};
}

std::vector<double> Trainer::GroupScales(double unscale) const {
  std::vector<double> scales;
  for (size_t i = 0; i < norms_.group.size(); ++i) {
    scales.push_back(unscale * ClipScale(norms_.group[i], config_.optim.groups[i].clip_norm));
  }
  return scales;
}

absl::Status Trainer::CheckFinite(double grad_norm) const {
  if (std::isfinite(grad_norm)) return absl::OkStatus();
  absl::Status mine;
  for (const Shard& shard : gradients_->shards()) {
    if (AllFinite(shard.grad)) continue;
    mine = absl::OutOfRangeError(
        StrCat("step ", step_ + 1, ": the gradient of ", shard.parameter->name, " is not finite",
               place_.mesh().size() > 1 ? StrCat(" on rank ", place_.rank()) : "",
               "; nothing was updated. Resume from the last checkpoint with a lower "
               "optim.lr, or look at the data of this step"));
    break;
  }
  RETURN_IF_ERROR(Agree(place_.world(), mine));
  return absl::OutOfRangeError(
      StrCat("step ", step_ + 1, ": the norm of the gradient overflows; nothing was updated"));
}

StepReport Trainer::Report(const Batch& batch, const StepSums& sums) const {
  StepReport report;
  report.step_labels = batch.num_labels;
  ExactSum nll;
  for (const ExactSum& sum : sums.language_nll) nll.Merge(sum);
  report.loss = nll.Value() / static_cast<double>(batch.num_labels);
  report.balance_loss = sums.balance_loss.Value();
  report.flops = flops_.Training(static_cast<double>(batch.num_labels), VisiblePairs(batch));
  report.padding =
      1 - static_cast<double>(batch.num_labels) / static_cast<double>(batch.rows * batch.length);
  report.language_tokens = batch.language_tokens;
  for (size_t i = 0; i < sums.language_nll.size(); ++i) {
    const int64_t n = batch.language_tokens[i];
    report.language_loss.push_back(n > 0 ? sums.language_nll[i].Value() / static_cast<double>(n)
                                         : std::numeric_limits<double>::quiet_NaN());
  }
  if (config_.parallel.capacity_factor) report.language_dropped = sums.language_dropped;
  for (const auto& tokens : sums.expert_tokens) report.expert_load.push_back(LoadRatio(tokens));
  report.data_digest = ToHex(batch.digest);
  return report;
}

}  // namespace choir
