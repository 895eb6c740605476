// All ranks leave together: an error on one is an error on all.
#pragma once

#include "absl/status/status.h"
#include "parallel/comm/communicator.h"

namespace choir {

// OK if `mine` is OK on every rank. Else, on every rank, the status of the lowest rank that failed;
// on more than one rank its message names the rank, unless all failed alike. All ranks of `world`
// call it (null: alone). Blocks.
absl::Status Agree(World* world, const absl::Status& mine);

// Whether it is true on any rank.
bool AnyRank(World* world, bool mine);

}  // namespace choir
