// Matrix products of many experts in one op.
#pragma once

#include "ops/tape.h"

namespace choir {

// y[n] = w[e] x[n] for the rows n in [offsets[e], offsets[e + 1]): `x` is [N, I] sorted by expert,
// `w` [E, O, I] (the dims between the first and the last make O), `offsets` i32[E + 1] with
// offsets[E] = N, y [N, O]. Backward: dx is new; dw is added into w.grad, which is not touched for
// experts without rows. `offsets` must be a decision of the router (Dispatch): it is kept.
Var GroupedLinear(Tape& tape, const Var& x, Parameter& w, const Tensor& offsets,
                  const Tag& tag = "grouped_linear");

}  // namespace choir
