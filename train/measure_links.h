// Times of exchanges between this job's ranks, for plan/hardware_fit.h.
#pragma once

#include <vector>

#include "parallel/comm/communicator.h"
#include "plan/hardware_fit.h"

namespace choir {

// Collectives and messages from 1 KiB to 4 MiB inside a node (all ranks of it) and, with several
// nodes, between those ranks of all nodes that have the same place in theirs. All ranks of `world`
// call it; each gets the times of the slowest rank. A size's fastest round counts.
std::vector<TimedExchange> MeasureExchanges(World& world);

// How exchanges and products get in each other's way: hideable is 1 and compute_loss the share of
// the shorter one's time that running both at once takes beyond the longer one's. All ranks call
// it; nothing of a world of one rank.
OverlapRates MeasureOverlap(World& world);

}  // namespace choir
