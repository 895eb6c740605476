// When a rank may let go of what it has sent: from the schedule alone, so that what memory holds
// never depends on when messages arrive, and nobody waits to free memory.
#pragma once

#include <cstddef>
#include <vector>

#include "parallel/pipeline/schedule.h"

namespace choir {

// For each action of `rank`, in its order: the first later action of this rank that can only start
// once the other rank has taken what the action sends (a chain of hand-overs leads from there to
// here), or the number of actions where there is none. Of no meaning for actions that send nothing.
// Walks all ranks' actions: O(ranks^2 x actions of a rank).
std::vector<size_t> SendReleases(const ScheduleSpec& spec, int rank);

}  // namespace choir
