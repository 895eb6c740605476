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
#include "data/batch.h"
#include "model/transformer.h"
#include "parallel/pipeline/runner.h"

namespace choir {

// Sums over the global batch. Exact, so that they do not depend on who summed what.
struct StepSums {
  std::vector<ExactSum> language_nll;
  ExactSum balance_loss;
  std::vector<int64_t> language_dropped;            // choices of experts beyond capacity
  std::vector<std::vector<int64_t>> expert_tokens;  // by layer with experts, of the whole model

  StepSums(size_t languages, size_t expert_layers, int experts);
  // Adds up over all ranks. Blocks.
  void AllReduce(const Place& place);
};

// A microbatch as one rank sees it: its tokens, labels and masks out of the whole microbatch.
ModelInput LocalInput(const ModelInput& whole, const Place& place, const LeafTree& tree,
                      int64_t microbatch);

// Which microbatches of a step this rank runs: the data ranks share them in equal, consecutive
// parts.
struct MicrobatchShare {
  int64_t total = 1;  // of the step
  int64_t first = 0;
  int64_t count = 1;
  int64_t rows = 0;  // sequences of each but the last
};

class Microbatches : public StageWork {
 public:
  // `model` outlives this.
  Microbatches(Transformer& model, RecomputePolicy recompute);

  // Before a step. `batch` and `sums` are used until its end.
  void Begin(const Batch& batch, const MicrobatchShare& share, const LeafTree& tree,
             StepSums& sums);

  Tensor Forward(int stage, int microbatch, Tensor input) override;
  Tensor Backward(int stage, int microbatch, Tensor output_grad, bool defer_weights) override;
  void WeightGrad(int stage, int microbatch) override;

  // Shape of the tensor between stages, for `microbatch` of this rank.
  Shape HandoverShape(int microbatch) const;
  // Of experts (parallel/expert/capacity.h); none drops.
  std::optional<double> capacity_factor;
  // Called when the last forward pass of the step has run.
  std::function<void()> on_forwards_done;
  // Called between kernels.
  std::function<void()> poll;

 private:
  struct Pass {
    ModelInput input;
    std::unique_ptr<Tape> tape;
    Var hidden;
    StageOutput output;
    WeightGradQueue weights;
  };
  const ModelInput& Input(int microbatch);
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
  int64_t forwards_left_ = 0;
  std::map<int, ModelInput> inputs_;            // by microbatch
  std::map<std::pair<int, int>, Pass> passes_;  // by stage and microbatch
  int mine_ = 1;                                // stages of this rank
};

}  // namespace choir
