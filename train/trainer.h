// Training: the step from top to bottom. docs/step.md walks through it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "checkpoint/contents.h"
#include "checkpoint/manifest.h"
#include "data/loader/loader.h"
#include "eval/validate.h"
#include "model/counts.h"
#include "model/transformer.h"
#include "optim/ema.h"
#include "optim/loss_scale.h"
#include "optim/matrix_plan.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "parallel/assemble.h"
#include "parallel/zero/gradient_sum.h"
#include "parallel/zero/weight_store.h"
#include "train/config.h"
#include "train/grad_norm.h"
#include "train/layout.h"
#include "train/microbatches.h"

namespace choir {

// What one step reports. Loss and gradient norm are of the whole global batch.
struct StepReport {
  int64_t step = 0;           // counts from 1
  int64_t tokens = 0;         // labels trained on since the start of the run
  int64_t step_labels = 0;    // of this step
  double loss = 0;            // nats per label
  double balance_loss = 0;    // sum of the router's losses
  double grad_norm = 0;       // before clipping, of the unscaled loss
  double loss_scale = 1;      // of this step
  bool skipped = false;       // the gradient overflowed: nothing was updated
  int64_t skipped_steps = 0;  // since the start of the run
  double lr = 0;
  double flops = 0;        // of this step's products
  double data_wait_s = 0;  // waited for the loader
  double padding = 0;      // share of the batch
  std::vector<int64_t> language_tokens;
  std::vector<double> language_loss;  // nats per label; NaN without labels
  // Choices of experts beyond capacity, of all layers; empty without a capacity factor.
  std::vector<int64_t> language_dropped;
  // Of each layer with experts: its busiest expert's tokens over the mean.
  std::vector<double> expert_load;
  std::string data_digest;
};

// What a trainer on the meta device is told in place of reading a corpus.
struct PlannedData {
  int64_t languages = 1;
  // Bounds of documents in a batch (Batch::cu_seqlens); empty: every row is one document.
  std::vector<int32_t> bounds;
  // The step that is run, counted from 0; none: the last, where nothing ramps any more.
  std::optional<int64_t> step;
};

class Trainer {
 public:
  // Model, optimizer and data at step 0, weights initialised. `world` (null: one rank) outlives
  // this; its ranks all make a Trainer of the same config.
  static absl::StatusOr<std::unique_ptr<Trainer>> Make(const RunConfig& config,
                                                       World* world = nullptr);

  // One rank of a job on the meta device: nothing is computed or sent, memory and traffic are those
  // of the job. `config` is resolved, its layout chosen; `world` is dry (or of one rank), and
  // outlives this. Steps and updates only.
  static absl::StatusOr<std::unique_ptr<Trainer>> MakeOnMeta(const RunConfig& config, World* world,
                                                             const PlannedData& data);

  // All of the following are called by all ranks together.

  // One optimizer update. OutOfRange if the gradient is not finite: names step, rank and parameter,
  // and leaves weights and moments as they were. With loss scaling such a step is skipped: it
  // counts, its data is consumed, and it changes the scale only.
  absl::StatusOr<StepReport> Step();
  // The parts of Step: gradients of the next batch, whole in gradients().shards(); then the update.
  absl::StatusOr<StepReport> ComputeGradients();
  absl::Status Update(StepReport& report);
  // Ends the step as Update does when its gradient overflows.
  void SkipUpdate(StepReport& report);

  // Everything that the next step depends on. Tensors are whole, and on rank 0 only.
  CheckpointContents SaveState();
  // Continues from a checkpoint of a config that CompareForResume accepts, of any layout.
  absl::Status RestoreState(const Checkpoint& checkpoint);

  std::vector<LanguageLoss> Validate();

  int64_t step() const { return step_; }
  const RunConfig& config() const { return config_; }
  const RunLayout& layout() const { return layout_; }
  const Place& place() const { return place_; }
  // Which ZeRO shard updates which matrices; of rules that need them whole.
  const MatrixPlan& matrix_plan() const { return matrix_plan_; }
  Transformer& model() { return model_; }
  const BatchLoader& loader() const { return *source_.loader; }
  const ValidationSet& validation() const { return *source_.validation; }
  GradientSum& gradients() { return *gradients_; }
  Microbatches& microbatches() { return microbatches_; }
  const Optimizer& optimizer() const { return optimizer_; }
  // Of the weights; null: none is kept.
  const WeightAverage* average() const { return average_.get(); }

  // A tensor of the training state: on every rank its part, with what the whole of it is.
  struct StateTensor {
    std::string name;  // "model/layers.0.ffn.down", "optim/.../m", "grad/..."
    Spreading spreading;
    Tensor mine;  // flat; undefined where it is not on this stage
    // Where `mine` may be a copy: takes what it was changed to. Else empty.
    std::function<void(const Tensor& mine)> write = nullptr;
  };
  // Weights, moments, averages and biases, in one order on all ranks.
  std::vector<StateTensor> State();
  // Sets all of State from whole tensors, found by name (CHECKed).
  void SetState(const std::function<Tensor(const std::string& name)>& whole);
  // Of one of this rank's parameters what State has: its value, or its shard of it. Flat.
  Tensor StoredValue(const Parameter& parameter) const;
  // The last stage's copy of a tied table, which State leaves out; nothing elsewhere.
  StateTensor TiedCopy();
  // The gradients of the last ComputeGradients.
  std::vector<StateTensor> Gradients() const;

 private:
  // Where batches come from: a corpus, or a plan.
  struct Source {
    std::unique_ptr<BatchLoader> loader;
    std::unique_ptr<ValidationSet> validation;
    PlannedData planned;
    Device device() const { return loader != nullptr ? Device::kCpu : Device::kMeta; }
  };
  Trainer(const RunConfig& config, const RunLayout& layout, World* world, Source source);
  TensorOptions options() const { return {DType::kF32, source_.device()}; }
  StepRows RowsOfStep(int64_t step) const;
  absl::StatusOr<Batch> NextBatch();

  // A parameter of the whole model and the stage that has it.
  struct ModelEntry {
    std::string name;
    Placement placement;
    Matrices matrices;
    int pipe;
  };
  std::vector<ModelEntry> ListModel();
  ShardCut CutFor(const ModelEntry& entry) const;
  std::vector<GradientSum::Entry> GradientEntries();
  std::vector<WeightStore::Weight> ShardedWeights();
  std::vector<OptimTarget> Targets();
  void Initialize();
  void Serve(Tape& tape, int stage);
  void RunMicrobatches(const Batch& batch, int64_t pieces, StepSums& sums);
  void MakeAverage();
  void UpdateAverage();
  void AddTiedGradients();
  void EndStep(StepReport& report, bool overflowed);
  std::vector<double> GroupScales(double unscale) const;
  SchedulePosition Position(const StepReport& report) const;
  absl::Status CheckFinite(double grad_norm) const;
  StepReport Report(const Batch& batch, const StepSums& sums) const;
  void RestoreLossScale(const nlohmann::json& state);
  void ReadValue(StateTensor& to, const ModelEntry& entry, size_t target);
  void ReadAverage(StateTensor& to, size_t target);
  void ReadMoment(StateTensor& to, size_t target, const std::string& name);
  void RestoreTiedHead(const StateTensor& t, const Tensor& whole);
  bool ValueByOptimizer(const ModelEntry& entry) const;
  StateTensor Spread(const ModelEntry& entry, const std::string& name, bool sharded) const;

  RunConfig config_;
  RunLayout layout_;
  Place place_;
  Source source_;
  Transformer model_;
  MatrixPlan matrix_plan_;
  std::vector<ModelEntry> whole_model_;
  std::unique_ptr<GradientSum> gradients_;
  WeightStore weights_;
  Optimizer optimizer_;
  std::unique_ptr<WeightAverage> average_;  // null: none is kept
  Microbatches microbatches_;
  FlopCounts flops_;
  GradNorms norms_;                                  // of the last ComputeGradients
  std::vector<std::vector<int64_t>> expert_tokens_;  // of the last step, by layer with experts
  int64_t step_ = 0;
  int64_t tokens_ = 0;
  LossScale loss_scale_;
};

// Fills what the config leaves to the data: the vocabulary. FailedPrecondition if a given
// vocabulary is smaller than the tokenizer's.
absl::StatusOr<RunConfig> ResolveConfig(const RunConfig& config, int64_t tokenizer_vocab);

// The version of the code, as stored in checkpoints.
std::string CodeVersion();

}  // namespace choir
