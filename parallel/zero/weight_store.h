// Weights in shards (ZeRO stage 3, Rajbhandari et al. 2020): a rank keeps its shard of each, and a
// whole value only while it is used.
//
// A pass goes through the units of its stage (Tape::SetUnit), upwards in the forward pass and
// downwards in the backward pass. Entering a unit drops all values but its own and the next one's,
// waits for its own, and starts to gather the next one's, which then travel while this one's are
// computed with. The unit that a pass ends with stays, because the next pass often begins with it.
// So at most two units are whole; a pass sends share(n) W for the W bytes of its stage's units
// with n shards, a unit that is still there nothing.
//
// A value that is read outside of its unit (a recomputed result, weight gradients that were put
// off) is gathered then and there, and stays until another unit's is, or the next unit is entered:
// one more unit at most.
//
// Each value is gathered by itself, straight into the whole tensor. Vectors are not kept here
// (StorageOf in gradient_sum.h).
#pragma once

#include <memory>
#include <vector>

#include "ops/parameter.h"
#include "ops/tape.h"
#include "parallel/mesh/shard_cut.h"
#include "parallel/place.h"

namespace choir {

class WeightStore {
 public:
  struct Weight {
    std::shared_ptr<ShardedValue> value;
    Tensor shard;  // flat; shard Coord(axes) of the value, cut by `cut`
    AxisSet axes;  // over which it is cut
    ShardCut cut;
    std::vector<int> units;  // that use it
  };
  // Sets the values' gather functions. Backward passes do not read the values of `forward_only`.
  // `place` outlives this, and the shards' tensors are those that the optimizer updates.
  WeightStore(const Place& place, std::vector<Weight> weights, int forward_only);
  ~WeightStore();
  WeightStore(const WeightStore&) = delete;

  // Follows a tape through units [first, last].
  void Serve(Tape& tape, int first, int last);
  // Drops every whole value: the shards have changed.
  void Release();

 private:
  static constexpr int kNone = -1;
  struct Held {
    Weight weight;
    Tensor arriving;  // until the value is whole
    Event event;
  };
  void Enter(int unit, int next);
  void Read(Held& held);
  void Start(Held& held, bool ahead);
  void Wait(Held& held);
  void Drop(Held& held);
  void DropOthers();
  bool Needed(const Held& held) const;

  const Place& place_;
  std::vector<Held> held_;
  int forward_only_;
  int unit_ = kNone, next_ = kNone;
  int guest_ = kNone;  // the unit of a value that was read outside of its own
};

}  // namespace choir
