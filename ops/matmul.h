// Matrix products with parameters.
#pragma once

#include "ops/tape.h"

namespace choir {

// Bounds of pieces count elements of this rank's part of w: I columns or O rows. They give sums
// their order on tapes with invariant numerics, and end the blocks of low-precision formats on all.
struct LinearOptions {
  Tag tag = "linear";
  SumPieces in_pieces;   // of the sum over I of the forward pass
  SumPieces out_pieces;  // of the sum over O of dx
  int in_dims = 1;       // dims of w, from its last, that make I
};

// y[T, O] = x[T, I] w[O, I]^T. `w` may have more dims: the last (in_dims) make I, the others O. Any
// of T, I and O may be 0. Backward: dx is new, dw is added into w.grad, or leaf by leaf of the
// tape's rows into w.tree.
//
// Operands of all three products are rounded as w.matmul says when the op is made
// (ops/low_product.h), x and dy twice: along I or O, and along T for dw, where blocks start at each
// leaf (one leaf in fast mode). Nothing more is saved for that. In 128 x 128 blocks of dy, which
// dx is made from, rows of two leaves are not mixed.
Var Linear(Tape& tape, const Var& x, Parameter& w, const LinearOptions& options);
Var Linear(Tape& tape, const Var& x, Parameter& w, const Tag& tag = "linear");

}  // namespace choir
