// Times of this machine's kernels, for plan/hardware_fit.h.
#pragma once

#include <vector>

#include "plan/hardware_fit.h"

namespace choir {

// Element-wise kernels from one that does nothing to one that leaves every cache, products of full
// and of rounded operands over a grid of shapes, experts' products and attention, in F32 on the
// CPU, on the threads of ParallelFor. Each is repeated for about `seconds_each` after a first run
// that is not counted; the fastest counts, as what the machine can do undisturbed. Takes about 80
// times `seconds_each`.
std::vector<TimedWork> MeasureWork(double seconds_each);

}  // namespace choir
