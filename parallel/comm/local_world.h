// A job whose ranks are threads of this process: for tests, and to try layouts without MPI.
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "parallel/comm/communicator.h"

namespace choir {

// Runs `body` as `ranks` ranks, each on a thread of its own with its own World, rank in the log and
// memory ledgers (CurrentLedger; they live as long as the process, so that tensors may outlast the
// job). Returns when all have ended; an error holds the reason of the first World::Abort, after
// which the other ranks end in their next call of this job. Abort throws through `body`, which
// must not catch it.
absl::Status RunLocal(int ranks, const WorldOptions& options,
                      const std::function<void(World&)>& body);

}  // namespace choir
