// What this program and machine have, and what they can do (`choir doctor`).
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "parallel/comm/communicator.h"
#include "plan/hardware_fit.h"

namespace choir {

// Lines "what  value" of the build, its libraries, processor, memory, devices and the job's ranks;
// then, if there are any, lines that begin with "note" of what will make training slow. `world`
// null: one rank.
std::string DescribeMachine(const World* world);

struct Measurement {
  Hardware hardware;  // of one rank while all of them work
  std::vector<FitError> errors;
  // Of the time of the kernels, what this thread was running and not waiting for a processor.
  double running = 1;
  std::vector<TimedWork> kernels;
  std::vector<TimedExchange> exchanges;
};
// All ranks of `world` (null: one rank) call it and work at the same time, each on its own; rank
// 0's kernels and the slowest rank's exchanges count. Rank 0 gets the result, others an empty one.
// `seconds_each`: for one kernel (train/measure_work.h).
Measurement MeasureMachine(World* world, double seconds_each = 0.05);
// The same with `ranks` ranks that are threads of this process.
absl::StatusOr<Measurement> MeasureThreads(int ranks, double seconds_each = 0.05);

// For people: every sample with its rate and the constants' time for it, then the constants.
std::string DescribeMeasurement(const Measurement& measurement);

}  // namespace choir
