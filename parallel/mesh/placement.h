// How a parameter lies on the ranks.
#pragma once

#include "parallel/mesh/layout.h"
#include "parallel/mesh/shard_cut.h"

namespace choir {

inline constexpr AxisSet kTokenAxes{Axis::kContext, Axis::kTensor};

// What a model allocates of its part of a parameter (the rest is ZeRO's, parallel/zero).
enum class ParameterStorage {
  kWhole,       // value and gradient
  kNoGradient,  // the value; the gradient comes and goes
  kShardsOnly   // nothing: value (Parameter::sharded) and gradient come and go
};

struct Placement {
  Shape shape;  // of the whole
  Layout layout;
  // Its gradient is also a sum over heads, which tensor ranks share: norms inside of attention.
  bool over_heads = false;
  // How ZeRO shards a rank's part, over ZeroAxes.
  ShardCut cut;

  bool OfExperts() const { return !(layout.axes() - kDenseAxes).empty(); }
  // Ranks along these axes hold the same values, and each a part of the gradient: the sum over the
  // tokens it has seen (and heads).
  AxisSet GradAxes() const {
    if (OfExperts()) return Axis::kExpertData | AxisSet(Axis::kExpertContext);
    return (kDataAxes | kTokenAxes) - layout.axes();
  }
  // Those of them whose ranks have other tokens of the same sequences.
  AxisSet TokenGradAxes() const {
    return OfExperts() ? AxisSet(Axis::kExpertContext) : GradAxes() & kTokenAxes;
  }
  // Those of them whose ranks have other sequences, ZeRO's shards among them.
  AxisSet DataGradAxes() const { return GradAxes() - TokenGradAxes(); }
  AxisSet ZeroAxes() const { return OfExperts() ? Axis::kExpertData : Axis::kShard; }
};

}  // namespace choir
