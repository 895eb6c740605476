// The microbatches of one step on this rank: forward and backward passes of its stages, and the
// sums that a step reports.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/exact_sum.h"
#include "data/loader/batch.h"
#include "model/transformer.h"
#include "parallel/pipeline/runner.h"
#include "train/layout.h"

namespace choir {

// Sums over the global batch. Exact, so that they do not depend on who summed what.
struct StepSums {
  std::vector<ExactSum> language_nll;
  ExactSum balance_loss;
  std::vector<int64_t> language_dropped;            // choices of experts beyond capacity
  std::vector<std::vector<int64_t>> expert_tokens;  // by layer with experts, of the whole model

  StepSums(size_t languages, size_t expert_layers, int experts);
  // Adds up over all ranks. Blocks. `device`: that of the step, as for SumNumbers.
  void AllReduce(const Place& place, Device device);
};

// A microbatch as one rank sees it: its tokens, labels and masks out of the whole microbatch.
ModelInput LocalInput(const ModelInput& whole, const Place& place, const LeafTree& tree,
                      int64_t microbatch);

// Which microbatches of a step this rank runs. The data ranks have equal parts of them: consecutive
// ones, or (ZeRO from stage 2 on, GradientSum) each every D-th of the D data ranks.
struct MicrobatchShare {
  int64_t total = 1;  // of the step
  int64_t first = 0;
  int64_t count = 1;   // of this rank
  int64_t stride = 1;  // from one of them to the next
  int64_t rows = 0;    // sequences of each but the last

  // The microbatch of the step that is this rank's number `microbatch`.
  int64_t Number(int64_t microbatch) const { return first + microbatch * stride; }
};
// Of a step of `rows` sequences, each cut into `pieces` (train/length_ramp.h).
MicrobatchShare ShareOf(const RunLayout& layout, int data_rank, int64_t rows, int64_t pieces);

class Microbatches : public StageWork {
 public:
  // `model` outlives this.
  Microbatches(Transformer& model, RecomputePolicy recompute);

  // Before a step. `batch` and `sums` are used until its end.
  void Begin(const Batch& batch, const MicrobatchShare& share, const LeafTree& tree,
             StepSums& sums);

  // After a step: forgets its tokens.
  void End() { inputs_.clear(); }

  Tensor Forward(int stage, int microbatch, Tensor input) override;
  Tensor Backward(int stage, int microbatch, Tensor output_grad, bool defer_weights) override;
  void WeightGrad(int stage, int microbatch) override;

  // Shape of the tensor between stages, for `microbatch` of this rank.
  Shape HandoverShape(int microbatch) const;
  // Told of each pass before it begins, and after it. May be empty.
  std::function<void(ActionKind kind, int stage, int microbatch)> on_pass;
  std::function<void()> after_pass;
  // Called with each tape before its first op. May be empty.
  std::function<void(Tape& tape, int stage)> on_tape;
  // Called when the weight gradients of a stage and microbatch have been added.
  std::function<void()> on_weight_grads;
  // Of experts (parallel/expert/capacity.h); none drops.
  std::optional<double> capacity_factor;
  // Asked and told how many rows exchanges move (parallel/expert/routing.h); may be null.
  ExchangeRouting* routing = nullptr;
  // Factor on the loss that gradients are of (optim/loss_scale.h).
  double loss_scale = 1;
  // Called between kernels.
  std::function<void()> poll;

 private:
  class PassScope;
  struct Pass {
    ModelInput input;
    std::unique_ptr<Tape> tape;
    Var hidden;
    StageOutput output;
    WeightGradQueue weights;
  };
  const ModelInput& Input(int microbatch);
  ModelInput Whole(int microbatch) const;
  void EndPass(int stage, int microbatch);
  int64_t NumLabels() const;
  void Poll();
  void AddDropped(const RoutingReport& report, const ModelInput& input, int microbatch);
  void AddSums(const StageOutput& output, const ModelInput& input, int microbatch);

  Transformer& model_;
  RecomputePolicy recompute_;
  const Batch* batch_ = nullptr;
  const LeafTree* tree_ = nullptr;
  StepSums* sums_ = nullptr;
  MicrobatchShare share_;
  std::map<int, ModelInput> inputs_;            // by microbatch
  std::map<std::pair<int, int>, Pass> passes_;  // by stage and microbatch
};

}  // namespace choir
