#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace choir {

void ScheduleConfig::Check(ConfigErrors& errors) const {
  if (milestones.size() != factors.size()) {
    errors.Conflict({"milestones", "factors"}, "must be as many as factors, got " +
                                                   std::to_string(milestones.size()) + " and " +
                                                   std::to_string(factors.size()));
  }
  if (!std::is_sorted(milestones.begin(), milestones.end())) {
    errors.Add("milestones", "must rise");
  }
  if (kind == ScheduleKind::kStep && milestones.empty()) {
    errors.Conflict({"milestones", "kind"}, "must be given for the step schedule");
  }
  if (kind != ScheduleKind::kStep && !milestones.empty()) {
    errors.Conflict({"milestones", "kind"}, "is only for the step schedule");
  }
}

double ScheduleFactor(const ScheduleConfig& config, int64_t step, int64_t steps) {
  if (step < config.warmup_steps) {
    return static_cast<double>(step + 1) / static_cast<double>(config.warmup_steps);
  }
  const int64_t last = std::max<int64_t>(steps - 1, config.warmup_steps + 1);
  // Progress from `from` to the last step.
  auto progress = [&](int64_t from) {
    const double p =
        static_cast<double>(step - from) / static_cast<double>(std::max<int64_t>(1, last - from));
    return std::clamp(p, 0.0, 1.0);
  };
  const double range = 1 - config.final_ratio;
  switch (config.kind) {
    case ScheduleKind::kConstant:
      return 1;
    case ScheduleKind::kCosine:
      return config.final_ratio +
             range * (1 + std::cos(std::numbers::pi * progress(config.warmup_steps))) / 2;
    case ScheduleKind::kLinear:
      return 1 - range * progress(config.warmup_steps);
    case ScheduleKind::kWsd: {
      const auto decay =
          static_cast<int64_t>(config.decay_fraction * static_cast<double>(steps) + 0.5);
      return 1 - range * progress(std::max(config.warmup_steps, steps - 1 - decay));
    }
    case ScheduleKind::kStep: {
      double factor = 1;
      for (size_t i = 0; i < config.milestones.size(); ++i) {
        if (static_cast<double>(step) >= config.milestones[i] * static_cast<double>(steps)) {
          factor = config.factors[i];
        }
      }
      return factor;
    }
  }
  CHECK(false) << "schedule " << static_cast<int>(config.kind);
  __builtin_unreachable();
}

}  // namespace choir
