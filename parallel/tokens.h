// Which tokens of a microbatch a rank holds. The T tokens (rows of sequences one after another) are
// cut over context, then tensor ranks: between blocks a rank has its piece of context * tensor
// pieces; inside attention, dense feed-forward and the head, all of its context rank's.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ops/numerics.h"
#include "parallel/place.h"
#include "parallel/redistribute.h"

namespace choir {

struct TokenPlan {
  int64_t total = 0;
  int64_t context_begin = 0, context_count = 0;  // of this context rank
  int64_t local_begin = 0, local_count = 0;      // of this rank
  std::vector<int64_t> tensor_rows;              // pieces of the context rank's tokens
  std::vector<int64_t> context_rows;             // tokens of every context rank
  // The leaves of sums over tokens; null in fast mode.
  std::shared_ptr<const RowLeaves> context_leaves, local_leaves;
  int64_t leaves_per_step = 0;  // positions of the step's token tree

  // Own tokens to all of the context rank's, and sums back.
  RowMove Gather(const Place& place) const;
  RowMove Scatter(const Place& place) const;
};

// Microbatch `microbatch` of the step's (counted over all data ranks).
TokenPlan PlanTokens(const Place& place, int64_t total, const LeafTree& tree, int64_t microbatch);

// The pieces of a sum over a dim that is cut over tensor ranks (or expert-tensor ranks): `units`
// things of `unit_size` elements each, this rank holding its piece of them. Null in fast mode.
SumPieces PiecesOf(const Place& place, AxisSet axes, int64_t units, int64_t unit_size);

}  // namespace choir
