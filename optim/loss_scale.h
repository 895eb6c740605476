// Dynamic loss scaling (Micikevicius et al. 2018, "Mixed precision training", section 3.2).
#pragma once

#include <cstdint>

#include "optim/precision_config.h"

namespace choir {

// The scale of the next step, and what it follows from. Part of the training state.
struct LossScale {
  double scale = 1;
  int64_t good_steps = 0;  // since the scale changed
  int64_t skipped = 0;     // steps since the start of the run
  bool operator==(const LossScale&) const = default;
};

LossScale StartLossScale(const PrecisionConfig& config);
// Whether a step that overflowed at this scale is skipped; false: the run cannot go on.
bool MaySkip(const PrecisionConfig& config, const LossScale& state);
// After a step: grows when growth_interval steps in a row were good, backs off (not below the
// minimum) when it overflowed. Nothing changes where the config scales no loss.
LossScale NextLossScale(const PrecisionConfig& config, LossScale state, bool overflowed);

}  // namespace choir
