// Independent jobs on a few threads.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"

namespace choir {

// `threads`, or one for each processor if it is 0.
int64_t NumThreads(int64_t threads);

// Calls job(0) ... job(count - 1), each once, at most `threads` at a time, and returns when all are
// done. After an error no further job begins; of the errors that of the lowest number is returned.
absl::Status RunJobs(int64_t count, int64_t threads,
                     const std::function<absl::Status(int64_t)>& job);

}  // namespace choir
