// Memory against time of what a rank computes again: the recompute solver's curve.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "train/run_plan.h"

namespace choir {

struct ParetoPoint {
  int64_t peak_bytes = 0;          // of the rank, as the solver sees it
  double seconds = 0;              // that a step grows by
  double share = 0;                // the same, of the step without recomputation
  std::vector<std::string> rules;  // for train.recompute
};

// Of the rank that is fullest without recomputation; from keeping everything to the least bytes.
// `request` has hardware and no ranks.
struct Pareto {
  int rank = 0;
  std::vector<ParetoPoint> points;
};
absl::StatusOr<Pareto> PlanPareto(const RunConfig& config, const PlanRequest& request);

std::string ParetoText(const Pareto& pareto);
nlohmann::json ParetoJson(const Pareto& pareto);

}  // namespace choir
