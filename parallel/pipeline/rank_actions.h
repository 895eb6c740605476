// The lists of actions behind schedule.h, one function for each kind.
#pragma once

#include <cstdint>
#include <vector>

#include "parallel/pipeline/schedule.h"

namespace choir::internal {

std::vector<Action> GpipeActions(const ScheduleSpec& spec, int rank);
// 1f1b is interleaved with one chunk.
std::vector<Action> InterleavedActions(const ScheduleSpec& spec, int rank);
std::vector<Action> ZeroBubbleActions(const ScheduleSpec& spec, int rank);
std::vector<Action> DualPipeVActions(const ScheduleSpec& spec, int rank);

// Forward passes of the rank before forward and backward alternate in 1f1b and interleaved, were
// there enough microbatches. At least as many as are on the way between this rank's first forward
// pass and the first gradient that comes back to it.
int64_t WarmupForwards(const ScheduleSpec& spec, int rank);

}  // namespace choir::internal
