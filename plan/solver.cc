#include "plan/solver.h"

#include <algorithm>
#include <optional>

#include "base/check.h"
#include "base/strings.h"
#include "plan/recompute_exact.h"
#include "plan/recompute_rules.h"
#include "plan/recompute_search.h"

namespace choir {
namespace {

// Branch and bound is for few classes; its work is in relaxations times kernels and groups.
constexpr size_t kExactClasses = 64;
constexpr int64_t kExactWork = 3'000'000;

// Keeps what makes no difference, for shorter rules.
FoundChoice Tidied(const RecomputeModel& model, FoundChoice choice) {
  for (RecomputeAction& action : choice.actions) {
    if (action == RecomputeAction::kKeep) continue;
    const RecomputeAction before = std::exchange(action, RecomputeAction::kKeep);
    const RecomputeCost cost = Evaluate(model, choice.actions);
    if (cost.seconds <= choice.cost.seconds && cost.peak_bytes <= choice.cost.peak_bytes) {
      choice.cost = cost;
    } else {
      action = before;
    }
  }
  return choice;
}

std::optional<RecomputePlan> Solve(const RecomputeModel& model, RecomputeSearch& search,
                                   int64_t budget) {
  RecomputeBound bound;
  std::optional<FoundChoice> found = search.Best(budget, bound);
  const auto size = static_cast<int64_t>(model.kernels.size() + model.groups.size()) + 1;
  const bool met = found && bound.seconds >= found->cost.seconds * (1 - 1e-10);
  bool exact = met;
  if (!met && model.classes.size() <= kExactClasses) {
    ExactSearch all = SearchExactly(model, search.relaxation(), budget, std::move(found),
                                    bound.prices, kExactWork / size);
    found = std::move(all.best);
    exact = all.complete;
  }
  if (!found) return std::nullopt;
  const FoundChoice choice = Tidied(model, *std::move(found));
  return RecomputePlan{ChoiceOf(model, choice.actions), choice.cost,
                       exact ? choice.cost.seconds : bound.seconds, exact,
                       PolicyRules(model, choice.actions)};
}

}  // namespace

absl::StatusOr<RecomputePlan> SolveRecompute(const RecomputeGraph& graph, int64_t budget) {
  const RecomputeModel model = MakeRecomputeModel(graph);
  RecomputeSearch search(model);
  std::optional<RecomputePlan> plan = Solve(model, search, budget);
  if (plan) return *std::move(plan);
  return absl::OutOfRangeError(StrCat("no choice of what to recompute needs as few as ", budget,
                                      " bytes; the least found is ",
                                      search.Least().cost.peak_bytes));
}

std::vector<RecomputePlan> ParetoCurve(const RecomputeGraph& graph, int points) {
  CHECK(points >= 2);
  const RecomputeModel model = MakeRecomputeModel(graph);
  RecomputeSearch search(model);
  const int64_t least = search.Least().cost.peak_bytes;
  const ClassActions keep(model.classes.size(), RecomputeAction::kKeep);
  const int64_t most = std::max(least, Evaluate(model, keep).peak_bytes);
  std::vector<RecomputePlan> curve;
  for (int i = 0; i < points; ++i) {
    const int64_t budget = most - (most - least) * i / (points - 1);
    std::optional<RecomputePlan> plan = Solve(model, search, budget);
    CHECK(plan.has_value());
    while (!curve.empty() && curve.back().cost.seconds >= plan->cost.seconds &&
           curve.back().cost.peak_bytes >= plan->cost.peak_bytes) {
      curve.pop_back();
    }
    curve.push_back(*std::move(plan));
  }
  return curve;
}

}  // namespace choir
