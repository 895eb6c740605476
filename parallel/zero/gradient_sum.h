// Sums each parameter's gradient over the ranks that saw other tokens, in buckets that leave as
// soon as they are full, while the backward pass goes on; and cuts the sums, as ZeRO does, into one
// shard per rank of the shard axis (Rajbhandari et al. 2020).
//
// The sum goes from the inner axes to the outer: context and tensor, then shard, then replica. In
// invariant mode each of these is a balanced binary tree, and together with the tree on each rank
// (ops/grad_tree.h) one tree over all tokens; for that the ranks that share the tokens of a
// microbatch add up after each microbatch, which costs their bytes once per microbatch instead of
// once per step.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "ops/parameter.h"
#include "parallel/mesh/placement.h"
#include "parallel/place.h"
#include "parallel/zero/bucket.h"

namespace choir {

// What this rank updates of one parameter: elements [begin, begin + count) of its tensor,
// flattened.
struct Shard {
  Parameter* parameter = nullptr;
  Placement placement;
  int64_t begin = 0;
  Tensor value;  // a view of the parameter
  Tensor grad;   // after Finish: of the global batch
  // False where another rank counts this part in sums over the model (norms): copies on other
  // ranks' axes.
  bool counts = true;
};

struct ZeroOptions {
  int stage = 0;  // 0: no shards, 1: optimizer, 2: gradients too
  int64_t bucket_bytes = 25 << 20;
};

class GradientSum {
 public:
  struct Entry {
    Parameter* parameter;
    Placement placement;
  };
  // Sets the parameters' on_ready and, in invariant mode, trees. `place` outlives this.
  GradientSum(const Place& place, std::vector<Entry> entries, const ZeroOptions& options);
  ~GradientSum();
  GradientSum(const GradientSum&) = delete;

  // In the order of the entries.
  std::span<Shard> shards() { return shards_; }
  std::span<const Shard> shards() const { return shards_; }
  // The axes over which a parameter of this placement is cut into shards; none: it is not.
  AxisSet ShardAxes(const Placement& placement) const { return AxesOf(placement).shard; }

  // Before the first microbatch: gradients become zero.
  void Begin(std::shared_ptr<const LeafTree> tree);
  // All forward passes of the step have run: from now on a parameter without outstanding uses is
  // ready.
  void ForwardsDone() { forwards_done_ = true; }
  // Lets outstanding sums go on.
  void Poll();
  // Waits for every sum. Shards' gradients are then whole.
  void Finish();
  // After the optimizer: the shards' values to all ranks.
  void GatherValues();

 private:
  void MakeShards();
  void MakeBuckets();
  void Ready(size_t entry);
  Tensor Collect(size_t entry);
  void SumOverHeads(size_t entry);
  AxisSet SummedAxes(const Placement& placement) const;
  SumAxes AxesOf(const Placement& placement) const;
  bool SumsEachMicrobatch(const Placement& placement) const;
  void PlantTree(const Entry& entry, const std::shared_ptr<const LeafTree>& tree);

  const Place& place_;
  std::vector<Entry> entries_;
  ZeroOptions options_;
  std::vector<Shard> shards_;
  std::vector<std::unique_ptr<Bucket>> buckets_;
  std::vector<size_t> bucket_of_;  // by entry; none: kNoBucket
  std::vector<size_t> item_of_;    // its number in the bucket
  std::vector<bool> ready_;
  std::vector<Bucket*> launched_;  // in this order on every rank
  bool forwards_done_ = false;
};

}  // namespace choir
