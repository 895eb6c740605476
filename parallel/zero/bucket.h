// Gradients that travel together.
#pragma once

#include <span>
#include <vector>

#include "parallel/mesh/shard_cut.h"
#include "parallel/place.h"
#include "tensor/tensor.h"

namespace choir {

// How a gradient is summed: all-reduce over `inner`, then reduce-scatter over `shard` (or nothing),
// then all-reduce over `outer`. Empty sets, and axes of one rank, are left out.
struct SumAxes {
  AxisSet inner, shard, outer;
  bool operator==(const SumAxes&) const = default;
};

// A tensor to be summed, and how it is cut into shards.
struct Summand {
  Tensor tensor;
  ShardCut cut;
};

// Copies of some tensors, each cut into one piece per shard, stored shard by shard:
// [shard 0: piece 0 of each tensor, shard 1: ...].
class Bucket {
 public:
  // Tensors of one dtype and device, at least one. `place` outlives this.
  Bucket(const Place& place, const SumAxes& axes, std::span<const Summand> summands);

  // Starts the next collective of the sum if the one before has ended. `turn` counts the
  // collectives that the bucket launched before this one has started: this one does not overtake
  // it, so that every rank issues the same order. True when nothing is left to do.
  bool Advance(int turn);
  // A turn that holds nothing back.
  static constexpr int kSteps = 3;
  int step() const { return step_; }
  void Wait();
  // This rank's piece of the sum of a tensor, flat. Lives as long as the bucket.
  Tensor Piece(size_t tensor) const;

 private:
  void Pack(std::span<const Summand> summands);
  bool Start(int step);
  Tensor Mine() const;

  const Place& place_;
  SumAxes axes_;
  int shards_ = 1, shard_ = 0;
  std::vector<int64_t> counts_;                // elements of each shard
  std::vector<std::vector<int64_t>> sizes_;    // [tensor][shard]
  std::vector<std::vector<int64_t>> offsets_;  // [shard][tensor] in the buffer
  Tensor buffer_;
  int step_ = 0;
  Event event_;
};

}  // namespace choir
