// How long a training step takes: each stage's passes from their kernels and exchanges
// (plan/work_time.h, plan/collective_time.h), the pipeline by running its schedule on paper, then
// the update.
//
// A pass runs its kernels one after another. Exchanges that overlap (Overlap::kPass) hide behind
// `hideable` of this work, and slow it by `compute_loss` of the time hidden; what does not fit is
// exposed, as are all others:
//
//   pass = max(work + gaps + loss + exposed, kernels x issue_seconds) + pass_seconds
//   gaps = kernels x kernel_seconds + all-to-alls x sync_seconds
//
// The passes of a pair (dualpipev) run as one in which every exchange may hide. Of the update, sums
// that overlap hide behind a rank's last backward pass and gathers behind its first forward pass.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "plan/hardware.h"
#include "plan/workload.h"

namespace choir {

// Where the time of one or more passes goes, in seconds.
struct TimeParts {
  std::array<double, kNumWorkKinds> work{};  // by WorkKind
  double gaps = 0;                           // between kernels, of passes and of the step
  double host = 0;                           // more that the device waits for the host to launch
  double loss = 0;                           // work made slower by the exchanges that it hides
  std::map<std::string, double> exposed;     // exchanges waited for, by axis
  // All exchanges by axis, hidden or not: no part of Total.
  std::map<std::string, double> exchanges;

  double Work() const;
  double Exposed() const;
  double Total() const;
  void Add(const TimeParts& other, double count = 1);
};

// One run of a pass by itself.
TimeParts PassTime(const PassWork& pass, const Hardware& hardware);

struct StepTime {
  double seconds = 0;
  TimeParts parts;    // of the mean rank of the pipe; with `bubble` they add up to `seconds`
  double bubble = 0;  // seconds that the mean rank waits for other stages
  double update = 0;  // of the seconds, those behind the last pass
  double tokens_per_second = 0;       // of the job
  double model_flops_per_second = 0;  // of one device
  double mfu = 0;                     // the same over the BF16 peak
  double bubble_share() const { return bubble / seconds; }
};

// InvalidArgument where the hardware file lacks what the step needs, or the schedule cannot run.
absl::StatusOr<StepTime> PredictStep(const StepWorkload& step, const Hardware& hardware);

// A whole run of `tokens`, steps alone: no evaluation, checkpoint or failure.
struct RunCost {
  double hours = 0;
  std::optional<double> megawatt_hours;  // where the file gives watts
  std::optional<double> price;           // where it gives a price
};
RunCost CostOfRun(const StepTime& step, const Hardware& hardware, int ranks, double tokens);

}  // namespace choir
