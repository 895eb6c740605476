#include "optim/loss_scale.h"

#include <algorithm>

#include "optim/precision.h"

namespace choir {

LossScale StartLossScale(const PrecisionConfig& config) { return {InitialLossScale(config), 0, 0}; }

bool MaySkip(const PrecisionConfig& config, const LossScale& state) {
  return ScalesLoss(config) && state.scale > config.loss_scale.minimum;
}

LossScale NextLossScale(const PrecisionConfig& config, LossScale state, bool overflowed) {
  if (!ScalesLoss(config)) return state;
  const LossScaleConfig& c = config.loss_scale;
  if (overflowed) {
    return {std::max(c.minimum, state.scale * c.backoff), 0, state.skipped + 1};
  }
  if (++state.good_steps < c.growth_interval) return state;
  return {state.scale * c.growth, 0, state.skipped};
}

}  // namespace choir
