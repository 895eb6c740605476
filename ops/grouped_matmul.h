// Matrix products of many experts in one op.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "ops/tape.h"

namespace choir {

// Rows that come and go while experts compute. Experts are cut into runs, [bounds[i], bounds[i +
// 1]) is run i. All three functions may be empty; they are called on the tape's thread.
struct ExpertRuns {
  std::vector<int64_t> bounds;  // empty: one run of all experts
  // Before run i is computed: returns when its rows of the tensor to read are there. Called for all
  // runs, in order, also before the rows are read for the gradient of the weight.
  std::function<void(int64_t run)> before;
  // After run i: its rows of `result` are there. Called for all runs, in order.
  std::function<void(int64_t run, const Tensor& result)> after;
  // Now and then between products, so that communication makes progress.
  std::function<void()> poll;
};

// Bounds of pieces count elements of this rank's part of w: I columns or O rows of one expert. They
// give sums their order on tapes with invariant numerics, and end the blocks of low-precision
// formats on all. `leaves` are read in invariant mode only.
struct GroupedOptions {
  Tag tag = "grouped_linear";
  SumPieces in_pieces;   // of the sum over I of the forward pass
  SumPieces out_pieces;  // of the sum over O of dx
  // The rows of x by expert and leaf (LeavesOfRows); needed where w has a tree.
  std::shared_ptr<const GroupedLeaves> leaves;
  ExpertRuns forward;   // of y = w x: `before` for rows of x, `after` for rows of y
  ExpertRuns backward;  // of dx = w^T dy: `before` for rows of dy, `after` for rows of dx
};

// y[n] = w[e] x[n] for the rows n in [offsets[e], offsets[e + 1]): `x` is [N, I] sorted by expert,
// `w` [E, O, I] (the dims between the first and the last make O), `offsets` i32[E + 1] with
// offsets[E] = N, y [N, O]. N may be 0. Backward: dx is new; dw is added into w.grad, or leaf by
// leaf into w.tree; it is not touched for experts without rows. `offsets` must be a decision of the
// router (Dispatch): it is kept.
//
// Operands are rounded as w.matmul says when the op is made, as those of Linear are; along rows,
// blocks start at each expert's first row (in invariant mode at its first of each leaf).
Var GroupedLinear(Tape& tape, const Var& x, Parameter& w, const Tensor& offsets,
                  const GroupedOptions& options);
Var GroupedLinear(Tape& tape, const Var& x, Parameter& w, const Tensor& offsets,
                  const Tag& tag = "grouped_linear");

}  // namespace choir
