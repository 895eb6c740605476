// Matrix products with parameters.
#pragma once

#include "ops/tape.h"

namespace choir {

// The pieces are read by tapes with invariant numerics only. Their bounds count elements of this
// rank's part of w: I columns or O rows.
struct LinearOptions {
  Tag tag = "linear";
  SumPieces in_pieces;   // of the sum over I of the forward pass
  SumPieces out_pieces;  // of the sum over O of dx
  int in_dims = 1;       // dims of w, from its last, that make I
};

// y[T, O] = x[T, I] w[O, I]^T. `w` may have more dims: the last (in_dims) make I, the others O. Any of T,
// I and O may be 0.
// Backward: dx is new, dw is added into w.grad, or leaf by leaf of the tape's rows into w.tree.
Var Linear(Tape& tape, const Var& x, Parameter& w, const LinearOptions& options);
Var Linear(Tape& tape, const Var& x, Parameter& w, const Tag& tag = "linear");

}  // namespace choir
