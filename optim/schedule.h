// The learning-rate factor: a pure function of the step.
#pragma once

#include <cstdint>

#include "optim/config.h"

namespace choir {

// Factor for step `step` in [0, steps): the first step of a warm-up of n has 1/n; the last step of
// the run has `final_ratio`.
//   cosine  f + (1 - f) (1 + cos(pi p)) / 2, p from 0 after warm-up to 1 at the last step
//   linear  1 - (1 - f) p
//   wsd     1, then linear to f over the last decay_fraction of the run
//   step    1 until milestones[0] of the run, then factors[i] from milestones[i] on
double ScheduleFactor(const ScheduleConfig& config, int64_t step, int64_t steps);

}  // namespace choir
