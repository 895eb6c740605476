// Matrix products with parameters.
#pragma once

#include "ops/tape.h"

namespace choir {

// y[T, O] = x[T, I] w[O, I]^T. `w` may have more dims: the last is I, the others make O.
// Backward: dx is new, dw is added into w.grad.
Var Linear(Tape& tape, const Var& x, Parameter& w, const Tag& tag = "linear");

}  // namespace choir
