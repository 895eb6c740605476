// Small numbers of all ranks, added up on the host.
#pragma once

#include <vector>

#include "parallel/place.h"

namespace choir {

// Element by element over the ranks along `axes`. Blocks. With a device of meta, where ranks do not
// run, only what is allocated and sent is counted, and `values` come back.
std::vector<double> SumNumbers(const Place& place, AxisSet axes, std::vector<double> values,
                               Device device);

}  // namespace choir
