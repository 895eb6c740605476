// Who a rank is in every parallel dimension: arithmetic over ranks, no state and no communication,
// so that the ranks of any job can be walked in one process.
//
// Ranks form two grids over the same numbers, the pipeline outermost in both:
//   dense    pipe x replica x shard x context x tensor
//            (attention, norms, embeddings, dense feed-forward)
//   experts  pipe x expert_data x expert_context x expert x expert_tensor
//            (weights of routed experts)
// with replica * shard * context * tensor = expert_data * expert_context * expert * expert_tensor, so
// the degrees of attention and of experts are independent of each other (parallel folding).
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace choir {

// Outermost first in each grid. "Axis" is one of these, "dim" a dim of a tensor.
enum class Axis : uint8_t {
  kPipe,     // stages of layers
  kReplica,  // copies of everything, other data
  kShard,    // other data, ZeRO's shards
  kContext,  // other tokens of the same sequences
  kTensor,   // parts of the same matrices; between blocks: other tokens
  kExpertData,     // other data, the same experts
  kExpertContext,  // other tokens of the same sequences, the same experts
  kExpert,
  kExpertTensor
};
inline constexpr int kNumAxes = 9;
std::string_view Name(Axis axis);

class AxisSet {
 public:
  constexpr AxisSet() = default;
  // Implicit, so that one axis is a set too.
  constexpr AxisSet(Axis axis) : bits_(static_cast<uint16_t>(1 << static_cast<int>(axis))) {}
  constexpr AxisSet(std::initializer_list<Axis> axes) {
    for (Axis axis : axes) bits_ |= AxisSet(axis).bits_;
  }
  constexpr bool Has(Axis axis) const { return (bits_ & AxisSet(axis).bits_) != 0; }
  constexpr bool empty() const { return bits_ == 0; }
  friend constexpr AxisSet operator|(AxisSet a, AxisSet b) { return FromBits(a.bits_ | b.bits_); }
  friend constexpr AxisSet operator&(AxisSet a, AxisSet b) { return FromBits(a.bits_ & b.bits_); }
  friend constexpr AxisSet operator-(AxisSet a, AxisSet b) { return FromBits(a.bits_ & ~b.bits_); }
  friend constexpr bool operator==(AxisSet, AxisSet) = default;
  friend constexpr auto operator<=>(AxisSet, AxisSet) = default;
  std::string ToString() const;  // "replica+shard"; "none"

 private:
  static constexpr AxisSet FromBits(int bits) {
    AxisSet set;
    set.bits_ = static_cast<uint16_t>(bits);
    return set;
  }
  uint16_t bits_ = 0;
};

inline constexpr AxisSet kDataAxes{Axis::kReplica, Axis::kShard};
inline constexpr AxisSet kDenseAxes{Axis::kPipe, Axis::kReplica, Axis::kShard, Axis::kContext,
                                    Axis::kTensor};
inline constexpr AxisSet kExpertAxes{Axis::kPipe, Axis::kExpertData, Axis::kExpertContext,
                                     Axis::kExpert, Axis::kExpertTensor};

struct Degrees {
  int pipe = 1, replica = 1, shard = 1, context = 1, tensor = 1;
  int expert = 1, expert_tensor = 1;
  bool operator==(const Degrees&) const = default;
};

class Mesh {
 public:
  // CHECKs what ResolveDegrees (degrees.h) has verified: every degree is positive, and
  // expert * expert_tensor divides replica * shard * context * tensor.
  explicit Mesh(const Degrees& degrees);

  int size() const { return Size(kDenseAxes); }
  // Ranks along `axes` (of one grid).
  int Size(AxisSet axes) const;
  // This rank's index among the ranks that vary over `axes` (of one grid), the outer axis counting
  // more.
  int Coord(int rank, AxisSet axes) const;
  // The ranks that agree with `rank` on every other axis of the grid that `axes` belongs to, by
  // Coord. A set with the pipe alone is of the dense grid.
  std::vector<int> Peers(int rank, AxisSet axes) const;
  const Degrees& degrees() const { return degrees_; }

 private:
  int Degree(Axis axis) const;

  Degrees degrees_;
  int expert_data_, expert_context_;
};

}  // namespace choir
