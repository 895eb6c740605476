// Chooses what to keep, to compute again and to offload, so that a microbatch fits a memory budget
// and grows by as little time as possible. docs/recompute-solver.md has the model and the method.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "plan/recompute_cost.h"
#include "plan/recompute_graph.h"

namespace choir {

struct RecomputePlan {
  RecomputeChoice choice;  // what has no effect is kept
  RecomputeCost cost;
  double bound = 0;                // seconds: no choice within the budget costs fewer
  bool exact = false;              // cost.seconds is the least
  std::vector<std::string> rules;  // for `train.recompute`
};

// The cheapest choice found whose peak is at most `budget` bytes. Exact for small graphs (some 15
// tags and layers; where the bound is met, for larger ones too). OutOfRange if none was found: says
// the least bytes that were. Deterministic.
absl::StatusOr<RecomputePlan> SolveRecompute(const RecomputeGraph& graph, int64_t budget);

// Memory against time: for `points` budgets (at least 2), from the least bytes found to those of
// keeping everything at even steps, the cheapest choice; without those that another one beats.
// From much memory and little time to the opposite.
std::vector<RecomputePlan> ParetoCurve(const RecomputeGraph& graph, int points);

}  // namespace choir
