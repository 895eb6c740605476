#include "optim/config.h"

#include <algorithm>

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
  if ((kind == ScheduleKind::kCosineRestarts) != (period > 0)) {
    errors.Conflict({"period", "kind"}, "must be given for cosine_restarts, and only for it");
  }
  CheckUnit(errors);
}

void ScheduleConfig::CheckUnit(ConfigErrors& errors) const {
  if (unit == ScheduleUnit::kTokens) {
    if (!total_tokens) errors.Conflict({"total_tokens", "unit"}, "must be given with unit tokens");
    if (warmup_steps > 0) {
      errors.Conflict({"warmup_steps", "unit"}, "is in steps; with unit tokens set warmup_tokens");
    }
    if (total_tokens && warmup_tokens > *total_tokens) {
      errors.Conflict({"warmup_tokens", "total_tokens"}, "must be at most total_tokens");
    }
    return;
  }
  if (total_tokens) errors.Conflict({"total_tokens", "unit"}, "is only for unit tokens");
  if (warmup_tokens > 0) errors.Conflict({"warmup_tokens", "unit"}, "is only for unit tokens");
}

void MuonConfig::Check(ConfigErrors& errors) const {
  if (coefficients.size() != 3) errors.Add("coefficients", "must be three numbers");
  if (final_coefficients.size() != 3) errors.Add("final_coefficients", "must be three numbers");
  if (steps + final_steps == 0) {
    errors.Conflict({"steps", "final_steps"}, "must not both be zero");
  }
}

void OptimConfig::Check(ConfigErrors& errors) const {
  bool has_sgd = kind == OptimKind::kSgd;
  for (const ParameterGroupConfig& group : groups) has_sgd |= group.kind == OptimKind::kSgd;
  if (nesterov && !has_sgd) {
    errors.Conflict({"nesterov", "kind"}, "is only for sgd; muon has muon.nesterov");
  }
}

}  // namespace choir
