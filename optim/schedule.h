// The learning-rate factor: a pure function of where the run is.
#pragma once

#include <cstdint>

#include "optim/config.h"

namespace choir {

// Where a run is before a step, in steps or in tokens (ScheduleConfig::unit).
struct SchedulePosition {
  int64_t done = 0;     // before the step
  int64_t through = 1;  // and with it
  int64_t length = 0;   // of the whole run
};
// Step `step` in [0, steps).
inline SchedulePosition AtStep(int64_t step, int64_t steps) { return {step, step + 1, steps}; }

// With a warm-up of w and s = through - done, the size of the step (1 in steps):
//   while done < w:  through / w, so the first of w steps has 1 / w
// then, with p from 0 at done = w to 1 in the last step (done = length - s), and f = final_ratio:
//   constant         1
//   cosine           f + (1 - f) (1 + cos(pi p)) / 2
//   cosine_restarts  the same with p = x / T in the cycle at x of T units: cycles of period,
//                    period period_factor, period period_factor^2, ... (Loshchilov and Hutter 2017)
//   linear           1 - (1 - f) p
//   inverse_sqrt     sqrt(max(w, s) / through)
//   wsd              1, then linear to f over the last decay_fraction of the run
//   step             1 until milestones[0] of the run, then factors[i] from milestones[i] on
// With unit: tokens a last step that goes beyond total_tokens, and any after it, has p = 1.
double ScheduleFactor(const ScheduleConfig& config, const SchedulePosition& at);

}  // namespace choir
