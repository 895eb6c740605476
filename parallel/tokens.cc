#include "parallel/tokens.h"

#include "ops/grad_tree.h"
#include "parallel/mesh/placement.h"

namespace choir {
namespace {

std::vector<int64_t> PieceSizes(int64_t total, int64_t pieces, int64_t first, int64_t count) {
  std::vector<int64_t> sizes;
  for (int64_t i = first; i < first + count; ++i) {
    sizes.push_back(PieceBegin(total, pieces, i + 1) - PieceBegin(total, pieces, i));
  }
  return sizes;
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

TokenPlan PlanTokens(const Place& place, int64_t total, const LeafTree& tree, int64_t microbatch) {
  const int64_t context = place.Size(Axis::kContext), c = place.Coord(Axis::kContext);
  const int64_t tensor = place.Size(Axis::kTensor);
  const int64_t pieces = context * tensor, piece = place.Coord(kTokenAxes);
  TokenPlan plan;
  plan.total = total;
  plan.context_begin = PieceBegin(total, context, c);
  plan.context_count = PieceBegin(total, context, c + 1) - plan.context_begin;
  plan.local_begin = PieceBegin(total, pieces, piece);
  plan.local_count = PieceBegin(total, pieces, piece + 1) - plan.local_begin;
  plan.tensor_rows = PieceSizes(total, pieces, c * tensor, tensor);
  plan.context_rows = PieceSizes(total, context, 0, context);
  plan.leaves_per_step = int64_t{1} << tree.levels();
  if (!place.invariant()) return plan;
  plan.context_leaves = LeavesOf(total, tree, microbatch, context, c);
  plan.local_leaves = LeavesOf(total, tree, microbatch, pieces, piece);
  return plan;
}

SumPieces PiecesOf(const Place& place, AxisSet axes, int64_t units, int64_t unit_size) {
  if (!place.invariant()) return nullptr;
  const int64_t ranks = place.Size(axes), rank = place.Coord(axes);
  CHECK(kVirtualPieces % ranks == 0) << ranks << " ranks over " << axes.ToString();
  const int64_t each = kVirtualPieces / ranks;
  auto bounds = std::make_shared<std::vector<int64_t>>();
  const int64_t begin = PieceBegin(units, kVirtualPieces, rank * each);
  for (int64_t i = rank * each; i <= (rank + 1) * each; ++i) {
    bounds->push_back((PieceBegin(units, kVirtualPieces, i) - begin) * unit_size);
  }
  return bounds;
}

}  // namespace choir
