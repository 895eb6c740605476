// Gradients that travel together.
#pragma once

#include <vector>

#include "parallel/place.h"
#include "tensor/tensor.h"

namespace choir {

// How a gradient is summed: all-reduce over `inner`, then reduce-scatter over `shard` (or nothing),
// then all-reduce over `outer`. Empty sets, and axes of one rank, are left out.
struct SumAxes {
  AxisSet inner, shard, outer;
  bool operator==(const SumAxes&) const = default;
};

// Some tensors, each cut into one piece per shard, stored shard by shard:
// [shard 0: piece 0 of each tensor, shard 1: ...].
class Bucket {
 public:
  Bucket(const Place& place, const SumAxes& axes, const TensorOptions& options);

  // Adds a tensor of `elements`; returns its number here.
  size_t Add(int64_t elements);
  int64_t bytes() const;
  int shards() const { return shards_; }
  // Of piece `shard` of a tensor of `elements`.
  int64_t Begin(int64_t elements, int64_t shard) const {
    return PieceBegin(elements, shards_, shard);
  }

  // Copies a whole tensor in. True when all are there.
  bool Put(size_t item, const Tensor& whole);
  // Starts the next collective of the sum if the one before has ended. `turn` counts the collectives
  // that the bucket launched before this one has started: this one does not overtake it, so that every
  // rank issues the same order. True when nothing is left to do.
  bool Advance(int turn);
  int step() const { return step_; }
  void Wait();
  // This rank's piece of the sum.
  void Take(size_t item, const Tensor& piece) const;
  void Reset();

 private:
  static constexpr int kSteps = 3;
  bool Start(int step);
  Tensor Mine() const;

  const Place& place_;
  SumAxes axes_;
  TensorOptions options_;
  int shards_ = 1, shard_ = 0;
  std::vector<int64_t> sizes_;
  std::vector<int64_t> counts_;                // elements of each shard
  std::vector<std::vector<int64_t>> offsets_;  // [shard][item] in the buffer
  Tensor buffer_;
  size_t missing_ = 0;
  int step_ = 0;
  Event event_;

  void Seal();
};

}  // namespace choir
