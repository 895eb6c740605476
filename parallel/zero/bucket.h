// Gradients that travel together.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "parallel/mesh/shard_cut.h"
#include "parallel/place.h"
#include "parallel/zero/rounded_exchange.h"
#include "tensor/tensor.h"

namespace choir {

// How a gradient is summed: all-reduce over `inner`, then reduce-scatter over `shard` (or nothing),
// then all-reduce over `outer`. Empty sets, and axes of one rank, are left out.
// With a wire of bf16, the sums over `shard` and `outer` are RoundedExchanges; an all-reduce
// becomes one of evenly cut pieces and an all-gather of their sums in F32, so that all ranks have
// the same bits.
struct SumAxes {
  AxisSet inner, shard, outer;
  bool operator==(const SumAxes&) const = default;
};

// The format of elements on their way to ranks with other sequences.
struct Wire {
  DType format = DType::kF32;  // or kBF16: F32 tensors only, and fast numerics only, because how
                               // often an element is rounded depends on the layout
  // Roundings draw on (seed, parameter, step, sender, element).
  uint64_t seed = 0, step = 0;
};

// A tensor to be summed, and how it is cut into shards.
struct Summand {
  Tensor tensor;
  ShardCut cut;
  // For stochastic rounding: of which parameter elements [first, ...) these are, and which of its
  // sums in this step.
  std::string_view name = {};
  int64_t first = 0;
  int64_t round = 0;
};

// Copies of some tensors, each cut into one piece per shard, stored shard by shard:
// [shard 0: piece 0 of each tensor, shard 1: ...].
class Bucket {
 public:
  // Tensors of one dtype and device, at least one. `place` and the summands' names outlive this.
  Bucket(const Place& place, const SumAxes& axes, std::span<const Summand> summands,
         const Wire& wire = {});

  // Starts the next collective of the sum if the one before has ended. `turn` counts the
  // collectives that the bucket launched before this one has started: this one does not overtake
  // it, so that every rank issues the same order. True when nothing is left to do.
  bool Advance(int turn);
  // A turn that holds nothing back.
  static constexpr int kSteps = 4;
  // The turn of the bucket behind this one: two collectives in one group stay together.
  int turn() const { return step_ == kGather && gathers() ? kOuter : step_; }
  void Wait();
  // This rank's piece of the sum of a tensor, flat. Lives as long as the bucket.
  Tensor Piece(size_t tensor) const;

 private:
  enum Step { kInner, kShard, kOuter, kGather };
  // Elements of the buffer that are neighbours in one tensor.
  struct Extent {
    int64_t at, count;
    std::string_view name;
    int64_t first, round;
  };

  void Pack(std::span<const Summand> summands);
  void Start(int step);
  void StartOuter(Communicator& group);
  void ReserveRounded();
  void EndStep();
  Tensor Mine() const;
  RoundedExchange::Encode Rounding(int64_t begin, Step step) const;
  bool rounds() const { return wire_.format == DType::kBF16; }
  bool gathers() const;

  const Place& place_;
  SumAxes axes_;
  Wire wire_;
  int shards_ = 1, shard_ = 0;
  std::vector<int64_t> counts_;                // elements of each shard
  std::vector<std::vector<int64_t>> sizes_;    // [tensor][shard]
  std::vector<std::vector<int64_t>> offsets_;  // [shard][tensor] in the buffer
  std::vector<Extent> extents_;                // ascending; empty without rounding
  std::vector<int64_t> outer_counts_;
  RoundedExchange exchange_;
  Tensor buffer_;
  int step_ = 0;
  Event event_;
};

}  // namespace choir
