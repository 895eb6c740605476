// What must hold in any world, of threads or of processes: called by every rank of a job, each
// check compares with a plain loop over what all members handed in.
#pragma once

#include "parallel/comm/communicator.h"

namespace choir::comm_test {

// Every collective on several groups of the world, dtypes and counts.
void CheckCollectives(World& world);
// Values, sizes and addresses around the limits of pieces, of short and of long messages.
void CheckLongMessages(World& world);
// Many calls outstanding on several groups at once, waited for in an order of this rank's own.
void CheckManyOutstanding(World& world);
// The grid of a 2 x 2 x 2 mesh: three groups through every rank. Needs 8 ranks.
void CheckGrid(World& world);
// Bytes sent against the formulas.
void CheckCounts(World& world);

}  // namespace choir::comm_test
