// How far two computations of the same sum may lie apart. The only source of tolerances in tests
// and in `numerics: fast` comparisons: nothing is tuned until it passes.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace choir {

// Unit roundoff: half the distance from 1 to the next value.
double UnitRoundoff(DType dtype);

// Bound on the error of a sum of `length` products, relative to the largest magnitude involved:
// 8 sqrt(length + 16) u. Rounding errors of independent sign grow with the square root (Higham and
// Mary 2019, probabilistic bound with lambda = 8); the 16 covers the handful of roundings around a
// sum (scaling, exponentials, a final add).
double ErrorBound(DType dtype, int64_t length);

}  // namespace choir
