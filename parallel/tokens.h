// Which tokens of a microbatch a rank holds. The tokens (sequences one after another) are dealt to
// the context ranks, and the tokens of a context rank, in its order, cut over its tensor ranks:
// between blocks a rank has its own; inside attention, dense feed-forward and the head, all of its
// context rank's.
//
// Under ulysses a context rank has one piece of all tokens. Under ring it has, of C ranks, pieces c
// and 2 C - 1 - c of the 2 C pieces of every sequence: later tokens see more keys, so that an early
// and a late piece make equal work (as in "zigzag" ring attention and Llama 3, arXiv 2407.21783,
// section 3.3.2).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ops/numerics.h"
#include "ops/row_runs.h"
#include "parallel/place.h"
#include "parallel/redistribute.h"

namespace choir {

struct TokenPlan {
  int64_t total = 0;
  std::vector<RowRuns> context_runs;  // of every context rank
  RowRuns here;                       // those of this context rank
  RowRuns local;                      // of this rank, among them
  std::vector<int64_t> tensor_rows;   // pieces of the context rank's tokens
  // The leaves of sums over tokens; null in fast mode.
  std::shared_ptr<const RowLeaves> context_leaves, local_leaves;
  int64_t leaves_per_step = 0;  // positions of the step's token tree

  // Own tokens to all of the context rank's, and sums back.
  RowMove Gather(const Place& place) const;
  RowMove Scatter(const Place& place) const;
};

// The tokens of a microbatch: sequences of equal length.
struct TokenGrid {
  int64_t sequences = 1;
  int64_t length = 0;

  int64_t total() const { return sequences * length; }
};

// Microbatch `microbatch` of the step's (counted over all data ranks).
TokenPlan PlanTokens(const Place& place, const TokenGrid& grid, const LeafTree& tree,
                     int64_t microbatch);
// Tokens of this rank between blocks.
int64_t NumLocalTokens(const Place& place, const TokenGrid& grid);
// Tokens of context rank `c` of `ranks`.
RowRuns DealTokens(ContextMethod method, const TokenGrid& grid, int64_t ranks, int64_t c);

// The pieces of a sum over a dim that is cut over tensor ranks (or expert-tensor ranks): `units`
// things of `unit_size` elements each, this rank holding its part of them. In fast mode the number
// of ranks need not divide that of pieces: a piece then also ends where a rank's part does.
SumPieces PiecesOf(const Place& place, AxisSet axes, int64_t units, int64_t unit_size);

}  // namespace choir
