// How sums are ordered, so that a run can be the same bit for bit on any layout (design 3.3).
//
// `numerics: invariant` gives every sum that a layout may split one shape that does not depend on
// the layout.
//
// A sum over a dim that tensor parallelism splits (heads, feed-forward width, vocabulary) is cut
// into kVirtualPieces pieces, each summed from its first element to its last, and the pieces are
// added as a balanced binary tree. A rank of T holds kVirtualPieces / T neighbouring pieces: a
// subtree, which the collective over the ranks completes.
//
// A sum over tokens (gradients of weights) has as leaves the kVirtualPieces token chunks of each
// microbatch; chunks, then microbatches are added as one balanced binary tree (grad_tree.h).
//
// Everything else is computed row by row, and no row's bits depend on how many others there are.
//
// Piece i of n things cut into p is [i n / p, (i + 1) n / p), rounded down: cuts into p are also
// cuts into 2 p, and sizes differ by one at most.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace choir {

enum class Numerics { kFast, kInvariant };

inline constexpr int kVirtualPieces = 8;

// First element of piece `i` of `n` elements cut into `pieces`; the end for i == pieces.
constexpr int64_t PieceBegin(int64_t n, int64_t pieces, int64_t i) { return i * n / pieces; }

// The pieces of one summed dim that this rank holds: piece i is [(*p)[i], (*p)[i + 1]), some may be
// empty, their number is a power of two. Null: the sum is not cut.
using SumPieces = std::shared_ptr<const std::vector<int64_t>>;

// The rows of an op cut into leaves of the sum over tokens: rows [bounds[i], bounds[i + 1]) are
// leaf number index[i] of the step (LeafTree::Position). Ascending.
struct RowLeaves {
  std::vector<int64_t> index;
  std::vector<int64_t> bounds;
};

// The same for rows that are sorted by expert: of expert e, rows [Begin(i, e), End(i, e)) are leaf
// index[i].
struct GroupedLeaves {
  std::vector<int64_t> index;
  int64_t experts = 0;
  std::vector<int32_t> bounds;  // [leaves, experts, 2]

  int64_t Begin(int64_t leaf, int64_t expert) const {
    return bounds[static_cast<size_t>((leaf * experts + expert) * 2)];
  }
  int64_t End(int64_t leaf, int64_t expert) const {
    return bounds[static_cast<size_t>((leaf * experts + expert) * 2 + 1)];
  }
};

}  // namespace choir
