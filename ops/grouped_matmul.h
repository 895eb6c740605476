// Matrix products of many experts in one op.
#pragma once

#include <memory>

#include "ops/tape.h"

namespace choir {

// The last three are read by tapes with invariant numerics only. Bounds of pieces count elements of
// this rank's part of w: I columns or O rows of one expert.
struct GroupedOptions {
  Tag tag = "grouped_linear";
  SumPieces in_pieces;   // of the sum over I of the forward pass
  SumPieces out_pieces;  // of the sum over O of dx
  // The rows of x by expert and leaf (LeavesOfRows); needed where w has a tree.
  std::shared_ptr<const GroupedLeaves> leaves;
};

// y[n] = w[e] x[n] for the rows n in [offsets[e], offsets[e + 1]): `x` is [N, I] sorted by expert,
// `w` [E, O, I] (the dims between the first and the last make O), `offsets` i32[E + 1] with
// offsets[E] = N, y [N, O]. N may be 0. Backward: dx is new; dw is added into w.grad, or leaf by
// leaf into w.tree; it is not touched for experts without rows. `offsets` must be a decision of the
// router (Dispatch): it is kept.
Var GroupedLinear(Tape& tape, const Var& x, Parameter& w, const Tensor& offsets,
                  const GroupedOptions& options);
Var GroupedLinear(Tape& tape, const Var& x, Parameter& w, const Tensor& offsets,
                  const Tag& tag = "grouped_linear");

}  // namespace choir
