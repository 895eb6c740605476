// Sums each parameter's gradient over the ranks that saw other tokens, in buckets that leave as
// soon as they are full, while the backward pass goes on; and cuts the sums, as ZeRO does, into one
// shard per rank of the shard axis (Rajbhandari et al. 2020).
//
// Stages 0 and 1 add up a step's microbatches in each rank's whole gradient, and sum over ranks
// once a step. From stage 2 on a gradient leaves after every microbatch: its sum over the shard
// axis is added to this rank's shard, and the whole gradient is freed. What other axes have to add
// (context, tensor, replica) is added to the shards at the end of the step.
//
// In invariant mode every sum is a balanced binary tree, and all of them together, with the tree on
// each rank (ops/grad_tree.h), one tree over all tokens of the step:
// - The ranks that share the tokens of a microbatch add up after each microbatch, which costs their
//   bytes once per microbatch instead of once per step.
// - Stages 0 and 1: data ranks hold consecutive microbatches, so the tree over time is the inner
//   part and the one over ranks the outer.
// - From stage 2 on the microbatches that run at the same time are consecutive (MicrobatchShare):
//   the tree over data ranks, replicas too, is the inner part, completed after each microbatch;
//   the shards then add up over time. For that their number is a power of two.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "ops/parameter.h"
#include "parallel/mesh/placement.h"
#include "parallel/place.h"
#include "parallel/zero/sum_queue.h"

namespace choir {

// What this rank updates of one parameter: elements [begin, begin + count) of its tensor,
// flattened.
struct Shard {
  Parameter* parameter = nullptr;
  Placement placement;
  int64_t begin = 0;
  Tensor value;  // a view of the parameter; the only copy where Parameter::sharded
  Tensor grad;   // after Finish: of the global batch
  // False where another rank counts this part in sums over the model (norms): copies on other
  // ranks' axes.
  bool counts = true;
};

struct ZeroOptions {
  int stage = 0;  // 0: no shards, 1: of the optimizer state, 2: of gradients too, 3: of weights too
  int64_t bucket_bytes = 25 << 20;
  // Of sums over data axes; its step is set by Begin. kBF16 needs fast numerics (CHECKed).
  Wire wire = {};
};

// What the model allocates of a parameter under ZeRO of this stage. Gradients come and go where
// they leave after each microbatch, values where there is somebody to share them with; vectors
// (norms) stay whole, their gathers would be latency only.
ParameterStorage StorageOf(const Place& place, const Placement& placement, int stage);

class GradientSum {
 public:
  struct Entry {
    Parameter* parameter;
    Placement placement;
  };
  // Parameters are allocated as StorageOf says. Sets their on_ready and, in invariant mode, trees.
  // `place` outlives this.
  GradientSum(const Place& place, std::vector<Entry> entries, const ZeroOptions& options);
  ~GradientSum();
  GradientSum(const GradientSum&) = delete;

  // In the order of the entries.
  std::span<Shard> shards() { return shards_; }
  std::span<const Shard> shards() const { return shards_; }
  // The axes over which a parameter of this placement is cut into shards; none: it is not.
  AxisSet ShardAxes(const Placement& placement) const { return AxesOf(placement).shard; }

  // Before the first of this rank's `microbatches` of a step: gradients become zero.
  void Begin(std::shared_ptr<const LeafTree> tree, int64_t microbatches, int64_t step);
  // The weight gradients of a stage and microbatch are complete.
  void EndPass();
  // Lets outstanding sums go on.
  void Poll() { queue_.Poll(); }
  // Waits for every sum. Shards' gradients are then whole.
  void Finish();
  // After the optimizer: the shards' values to all ranks, but for those that are kept in shards.
  void GatherValues();

 private:
  // A gradient during a step.
  struct Sum {
    bool leaves = false;   // after each microbatch, else once
    int64_t left = 0;      // microbatches whose contribution is missing
    int64_t sent = 0;      // sums that have been asked for
    int64_t received = 0;  // that are in the shard
    // Invariant mode, of one that leaves: the shards of all data ranks' microbatches, over time.
    std::unique_ptr<GradTree> rounds;
  };
  void MakeShards();
  Tensor ShardValue(const Entry& entry, int64_t begin, int64_t count) const;
  void OneReady(size_t entry);
  void SumOnce(size_t entry);
  void SumMicrobatch(size_t entry);
  void AddRound(size_t entry, int64_t round, const Tensor& piece);
  void FinishShard(size_t entry);
  Tensor Collect(size_t entry);
  Summand SummandOf(size_t entry, Tensor tensor);
  void SumOverHeads(size_t entry);
  bool OverHeadsLater(const Entry& entry) const;
  AxisSet SummedAxes(const Placement& placement) const;
  SumAxes AxesOf(const Placement& placement) const;
  bool SumsEachMicrobatch(const Placement& placement) const;
  void PlantTree(const Entry& entry, const std::shared_ptr<const LeafTree>& tree);

  const Place& place_;
  std::vector<Entry> entries_;
  ZeroOptions options_;
  std::vector<Shard> shards_;
  std::vector<Sum> sums_;  // by entry
  SumQueue queue_;
};

}  // namespace choir
