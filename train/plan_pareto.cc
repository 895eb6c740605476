#include "train/plan_pareto.h"

#include <algorithm>
#include <cstdio>

#include "base/status.h"
#include "base/strings.h"
#include "plan/solver.h"
#include "train/plan_report.h"
#include "train/recompute_budget.h"

namespace choir {
namespace {

constexpr int kPoints = 12;

}  // namespace

absl::StatusOr<Pareto> PlanPareto(const RunConfig& given, const PlanRequest& request) {
  RunConfig config = given;
  config.train.recompute.clear();
  ASSIGN_OR_RETURN(const RunPlan plan, PlanRun(config, request));
  const RankPlan& fullest = plan.Fullest();
  const Hardware& hardware = *request.hardware;
  const BudgetRequest budget{
      .world = plan.world,
      .node_size =
          std::max(1, request.node_size > 0 ? request.node_size : hardware.links.ranks_per_node),
      .hardware = &hardware};
  const int pipe = fullest.rank / (plan.world / plan.layout.degrees.pipe);
  ASSIGN_OR_RETURN(const RecomputeGraph graph, TraceGraph(plan.config, plan.layout, budget, pipe));
  Pareto pareto{fullest.rank, {}};
  for (const RecomputePlan& p : ParetoCurve(graph, kPoints)) {
    const double seconds = p.cost.seconds * plan.layout.schedule.microbatches;
    pareto.points.push_back({p.cost.peak_bytes, seconds, seconds / plan.time->seconds, p.rules});
  }
  return pareto;
}

std::string ParetoText(const Pareto& pareto) {
  std::string text = StrCat("what rank ", pareto.rank,
                            ", the fullest, can compute again: bytes against time of a step\n");
  for (const ParetoPoint& p : pareto.points) {
    char line[96];
    std::snprintf(line, sizeof(line), "  %12s  + %8.4g s  %5.1f %%  ",
                  ByteText(static_cast<double>(p.peak_bytes)).c_str(), p.seconds, 100 * p.share);
    text += line;
    for (const std::string& rule : p.rules) text += " " + rule;
    text += p.rules.empty() ? " none\n" : "\n";
  }
  return text;
}

nlohmann::json ParetoJson(const Pareto& pareto) {
  nlohmann::json points = nlohmann::json::array();
  for (const ParetoPoint& p : pareto.points) {
    points.push_back({{"bytes", p.peak_bytes},
                      {"added_seconds", p.seconds},
                      {"added_share", p.share},
                      {"recompute", p.rules}});
  }
  return {{"rank", pareto.rank}, {"points", points}};
}

}  // namespace choir
