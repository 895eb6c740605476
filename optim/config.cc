#include "optim/config.h"

namespace choir {

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
  if (nesterov && !has_sgd)
    errors.Conflict({"nesterov", "kind"}, "is only for sgd; muon has muon.nesterov");
}

}  // namespace choir
