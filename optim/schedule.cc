#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace choir {
namespace {

double Cosine(double progress, double final_ratio) {
  return final_ratio + (1 - final_ratio) * (1 + std::cos(std::numbers::pi * progress)) / 2;
}

// Share of its cycle at `x` units behind the warm-up.
double CycleProgress(const ScheduleConfig& config, int64_t x) {
  int64_t cycle = config.period;
  if (config.period_factor == 1) {
    x %= cycle;
  } else {
    for (; x >= cycle; cycle *= config.period_factor) x -= cycle;
  }
  return static_cast<double>(x) / static_cast<double>(cycle);
}

double StepFactor(const ScheduleConfig& config, const SchedulePosition& at) {
  double factor = 1;
  for (size_t i = 0; i < config.milestones.size(); ++i) {
    const double milestone = config.milestones[i] * static_cast<double>(at.length);
    if (static_cast<double>(at.done) >= milestone) factor = config.factors[i];
  }
  return factor;
}

}  // namespace

double ScheduleFactor(const ScheduleConfig& config, const SchedulePosition& at) {
  const int64_t warmup = config.warmup();
  if (at.done < warmup) {
    return std::min(1.0, static_cast<double>(at.through) / static_cast<double>(warmup));
  }
  const int64_t size = at.through - at.done;
  const int64_t last = std::max(at.length - size, warmup + size);
  // Progress from `from` to the last step.
  auto progress = [&](int64_t from) {
    const double p = static_cast<double>(at.done - from) /
                     static_cast<double>(std::max<int64_t>(1, last - from));
    return std::clamp(p, 0.0, 1.0);
  };
  const double range = 1 - config.final_ratio;
  switch (config.kind) {
    case ScheduleKind::kConstant:
      return 1;
    case ScheduleKind::kCosine:
      return Cosine(progress(warmup), config.final_ratio);
    case ScheduleKind::kCosineRestarts:
      return Cosine(CycleProgress(config, at.done - warmup), config.final_ratio);
    case ScheduleKind::kLinear:
      return 1 - range * progress(warmup);
    case ScheduleKind::kInverseSqrt:
      return std::sqrt(static_cast<double>(std::max(warmup, size)) /
                       static_cast<double>(at.through));
    case ScheduleKind::kWsd: {
      const auto decay =
          static_cast<int64_t>(config.decay_fraction * static_cast<double>(at.length) + 0.5);
      return 1 - range * progress(std::max(warmup, at.length - size - decay));
    }
    case ScheduleKind::kStep:
      return StepFactor(config, at);
  }
  CHECK(false) << "schedule " << static_cast<int>(config.kind);
  __builtin_unreachable();
}

}  // namespace choir
