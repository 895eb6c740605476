#include "parallel/tokens.h"

#include "ops/grad_tree.h"
#include "parallel/mesh/placement.h"

namespace choir {
namespace {

// Where the context rank's tokens are cut over its tensor ranks, from their first on. Under ulysses
// at the pieces of all ranks, so that in invariant mode whole chunks fall to each.
std::vector<int64_t> TensorBounds(const Place& place, int64_t total, int64_t here) {
  const int64_t tensor = place.Size(Axis::kTensor), pieces = place.Size(kTokenAxes);
  const int64_t first = place.Coord(Axis::kContext) * tensor;
  std::vector<int64_t> bounds;
  for (int64_t i = 0; i <= tensor; ++i) {
    bounds.push_back(place.ring()
                         ? PieceBegin(here, tensor, i)
                         : PieceBegin(total, pieces, first + i) - PieceBegin(total, pieces, first));
  }
  return bounds;
}

// Piece `i` of `pieces` holds whole chunks where their number allows it; else it is one leaf of its
// own, in an order that is fixed but depends on the layout.
std::shared_ptr<const RowLeaves> LeavesOf(int64_t total, const LeafTree& tree, int64_t microbatch,
                                          int64_t pieces, int64_t i) {
  const int64_t chunks = tree.chunks();
  CHECK(chunks % pieces == 0) << pieces << " pieces of " << chunks << " chunks";
  auto leaves = std::make_shared<RowLeaves>();
  const int64_t each = chunks / pieces, begin = PieceBegin(total, pieces, i);
  for (int64_t c = i * each; c < (i + 1) * each; ++c) {
    leaves->index.push_back(tree.Position(microbatch, c));
    leaves->bounds.push_back(PieceBegin(total, chunks, c) - begin);
  }
  leaves->bounds.push_back(PieceBegin(total, pieces, i + 1) - begin);
  return leaves;
}

}  // namespace

RowMove TokenPlan::Gather(const Place& place) const {
  if (place.Size(Axis::kTensor) == 1) return {nullptr, Spread::kSplit, Spread::kSplit, {}};
  return {&place.Group(Axis::kTensor), Spread::kSplit, Spread::kReplicatedPartialGrad, tensor_rows};
}

RowMove TokenPlan::Scatter(const Place& place) const {
  if (place.Size(Axis::kTensor) == 1) return {nullptr, Spread::kPartial, Spread::kSplit, {}};
  return {&place.Group(Axis::kTensor), Spread::kPartial, Spread::kSplit, tensor_rows};
}

RowRuns DealTokens(ContextMethod method, const TokenGrid& grid, int64_t ranks, int64_t c) {
  RowRuns runs;
  const auto append = [&runs](int64_t first, int64_t n, int64_t pieces, int64_t i) {
    const int64_t begin = PieceBegin(n, pieces, i);
    AppendRows(runs, first + begin, PieceBegin(n, pieces, i + 1) - begin);
  };
  if (method == ContextMethod::kUlysses) {
    append(0, grid.total(), ranks, c);
    return runs;
  }
  for (int64_t s = 0; s < grid.sequences; ++s) {
    append(s * grid.length, grid.length, 2 * ranks, c);
    append(s * grid.length, grid.length, 2 * ranks, 2 * ranks - 1 - c);
  }
  return runs;
}

TokenPlan PlanTokens(const Place& place, const TokenGrid& grid, const LeafTree& tree,
                     int64_t microbatch) {
  const int64_t context = place.Size(Axis::kContext), c = place.Coord(Axis::kContext);
  const int64_t tensor = place.Size(Axis::kTensor), total = grid.total();
  TokenPlan plan;
  plan.total = total;
  for (int64_t i = 0; i < context; ++i) {
    plan.context_runs.push_back(DealTokens(place.context_method(), grid, context, i));
  }
  plan.here = plan.context_runs[static_cast<size_t>(c)];
  const std::vector<int64_t> bounds = TensorBounds(place, total, NumRows(plan.here));
  for (size_t i = 0; i + 1 < bounds.size(); ++i) {
    plan.tensor_rows.push_back(bounds[i + 1] - bounds[i]);
  }
  const auto t = static_cast<size_t>(place.Coord(Axis::kTensor));
  plan.local = SliceRuns(plan.here, bounds[t], plan.tensor_rows[t]);
  plan.leaves_per_step = int64_t{1} << tree.levels();
  if (!place.invariant()) return plan;
  CHECK(!place.ring()) << "leaves are neighbouring tokens";
  plan.context_leaves = LeavesOf(total, tree, microbatch, context, c);
  plan.local_leaves = LeavesOf(total, tree, microbatch, context * tensor, place.Coord(kTokenAxes));
  return plan;
}

int64_t NumLocalTokens(const Place& place, const TokenGrid& grid) {
  const int64_t here = NumRows(DealTokens(place.context_method(), grid, place.Size(Axis::kContext),
                                          place.Coord(Axis::kContext)));
  const std::vector<int64_t> bounds = TensorBounds(place, grid.total(), here);
  const auto t = static_cast<size_t>(place.Coord(Axis::kTensor));
  return bounds[t + 1] - bounds[t];
}

SumPieces PiecesOf(const Place& place, AxisSet axes, int64_t units, int64_t unit_size) {
  const int64_t ranks = place.Size(axes), rank = place.Coord(axes);
  CHECK(!place.invariant() || kVirtualPieces % ranks == 0)
      << ranks << " ranks over " << axes.ToString();
  const int64_t begin = PieceBegin(units, ranks, rank), end = PieceBegin(units, ranks, rank + 1);
  auto bounds = std::make_shared<std::vector<int64_t>>();
  for (int64_t i = 0; i <= kVirtualPieces; ++i) {
    // Those of the pieces before and after this part that end at its ends do not count.
    if (i * ranks < rank * kVirtualPieces || i * ranks > (rank + 1) * kVirtualPieces) continue;
    bounds->push_back((PieceBegin(units, kVirtualPieces, i) - begin) * unit_size);
  }
  const int64_t size = (end - begin) * unit_size;
  // Where ranks do not divide the pieces, a piece is cut at the ends of this part.
  if (bounds->empty() || bounds->front() != 0) bounds->insert(bounds->begin(), 0);
  if (bounds->size() < 2 || bounds->back() != size) bounds->push_back(size);
  return bounds;
}

}  // namespace choir
