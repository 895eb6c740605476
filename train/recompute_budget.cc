#include "train/recompute_budget.h"

#include <algorithm>
#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"
#include "plan/recompute_cost.h"
#include "plan/solver.h"
#include "plan/tape_to_graph.h"
#include "plan/work_time.h"
#include "train/recompute_rules.h"
#include "train/step_trace.h"

namespace choir {
namespace {

constexpr double kFlopsPerByte = 10;
constexpr int kAttempts = 8;

double SecondsOf(const TapeKernel& kernel, const Hardware* hardware) {
  double seconds = 0;
  for (const Work& work : kernel.work) {
    seconds += hardware != nullptr ? WorkSeconds(work, *hardware)
                                   : 1e-10 * std::max(work.flops / kFlopsPerByte, work.bytes);
  }
  return seconds;
}

WorldPlace PlaceOf(const RunLayout& layout, const BudgetRequest& request, int pipe) {
  return {pipe * (request.world / layout.degrees.pipe), request.world, request.node_size};
}

absl::StatusOr<int64_t> PeakOf(const RunConfig& config, const WorldPlace& place) {
  TraceRequest request;
  request.place = place;
  ASSIGN_OR_RETURN(const StepTrace trace, TraceStep(config, request));
  return trace.peaks.total;
}

RunConfig WithRules(const RunConfig& config, const std::vector<std::string>& rules) {
  RunConfig with = config;
  with.train.recompute = rules;
  return with;
}

// Enough microbatches that all stages have had theirs; a trace of more says nothing else.
RunConfig WithFewMicrobatches(const RunConfig& config, const RunLayout& layout) {
  RunConfig few = config;
  const int64_t ranks = layout.DataRanks();
  const int64_t each = std::min(layout.schedule.microbatches, 2 * layout.schedule.stages());
  few.data.batch_sequences = layout.microbatch_rows * ranks * each;
  few.train.batch_ramp = BatchRampConfig();
  return few;
}

// Behind the passes of `graph` those of a later stage of the same rank.
void Append(RecomputeGraph next, RecomputeGraph& graph) {
  const int tensors = static_cast<int>(graph.tensors.size());
  const int kernels = static_cast<int>(graph.kernels.size());
  const auto shift = [tensors](std::vector<int>& list) {
    for (int& tensor : list) tensor += tensors;
  };
  for (RecomputeTensor& t : next.tensors) {
    if (t.view_of >= 0) t.view_of += tensors;
    if (t.kernel >= 0) t.kernel += kernels;
    t.released += kernels;
  }
  for (RecomputeKernel& k : next.kernels) {
    shift(k.inputs);
    shift(k.outputs);
  }
  for (RecomputeNode& node : next.backward) shift(node.reads);
  std::move(next.tensors.begin(), next.tensors.end(), std::back_inserter(graph.tensors));
  std::move(next.kernels.begin(), next.kernels.end(), std::back_inserter(graph.kernels));
  graph.backward.insert(graph.backward.begin(), next.backward.begin(), next.backward.end());
}

// What is outside of layers has one name on all stages, which do not choose together.
void KeepOutsideOfLayers(RecomputeGraph& graph) {
  for (RecomputeTensor& tensor : graph.tensors) {
    if (tensor.layer < 0) tensor.decision = true;
  }
}

struct Choice {
  std::vector<std::string> rules;
  int64_t peak = 0;
};

// The cheapest rules whose trace fits. The graph's peak may be a little off with several stages.
absl::StatusOr<Choice> ChooseRules(const RunConfig& config, const RecomputeGraph& graph,
                                   const WorldPlace& place, int64_t budget) {
  ASSIGN_OR_RETURN(const int64_t all, PeakOf(WithRules(config, {}), place));
  if (all <= budget) return Choice{{}, all};
  int64_t target = budget;
  Choice choice;
  for (int i = 0; i < kAttempts; ++i) {
    const auto plan = SolveRecompute(graph, target);
    if (!plan.ok()) break;
    choice.rules = plan->rules;
    ASSIGN_OR_RETURN(choice.peak, PeakOf(WithRules(config, choice.rules), place));
    if (choice.peak <= budget) return choice;
    target -= choice.peak - budget;
  }
  const auto least = ParetoCurve(graph, 2);
  return absl::InvalidArgumentError(
      StrCat("train.recompute: budget of ", budget, " bytes: rank ", place.rank, " needs some ",
             least.back().cost.peak_bytes,
             " at least, however much it computes again; keeping everything it needs ", all));
}

}  // namespace

bool HasBudget(const RunConfig& config) {
  return ParseRecompute(config.train.recompute).budget.has_value();
}

absl::StatusOr<RecomputeGraph> TraceGraph(const RunConfig& given, const RunLayout& layout,
                                          const BudgetRequest& request, int pipe) {
  const RunConfig config = WithFewMicrobatches(WithRules(given, {}), layout);
  const WorldPlace place = PlaceOf(layout, request, pipe);
  std::map<int, TapeGraph> by_stage;
  TraceRequest trace;
  trace.place = place;
  trace.graphs = &by_stage;
  RETURN_IF_ERROR(TraceStep(config, trace).status());
  const int64_t in_flight = MaxInFlight(layout.schedule, pipe);
  TapeCosts costs;
  costs.seconds = [&](const TapeKernel& kernel) { return SecondsOf(kernel, request.hardware); };
  costs.copies =
      static_cast<int>((in_flight + layout.schedule.chunks - 1) / layout.schedule.chunks);
  RecomputeGraph graph;
  for (const auto& [stage, tape] : by_stage) Append(ToRecomputeGraph(tape, costs), graph);
  if (layout.degrees.pipe > 1) KeepOutsideOfLayers(graph);
  ASSIGN_OR_RETURN(const int64_t all, PeakOf(WithRules(given, {}), place));
  const RecomputeChoice keep(graph.tensors.size(), RecomputeAction::kKeep);
  graph.fixed_bytes = all - Evaluate(graph, keep).peak_bytes;
  return graph;
}

absl::StatusOr<RunConfig> WithChosenRecompute(const RunConfig& config,
                                              const BudgetRequest& request) {
  const RecomputeRules asked = ParseRecompute(config.train.recompute);
  if (!asked.budget) return config;
  const int64_t budget = asked.budget->bytes.value_or(request.bytes);
  ASSIGN_OR_RETURN(const RunLayout layout, PlanLayout(config, request.world, request.node_size));
  std::vector<std::string> rules;
  for (int pipe = 0; pipe < layout.degrees.pipe; ++pipe) {
    ASSIGN_OR_RETURN(const RecomputeGraph graph, TraceGraph(config, layout, request, pipe));
    ASSIGN_OR_RETURN(const Choice choice,
                     ChooseRules(config, graph, PlaceOf(layout, request, pipe), budget));
    rules.insert(rules.end(), choice.rules.begin(), choice.rules.end());
  }
  // The first entry was the budget.
  rules.insert(rules.end(), config.train.recompute.begin() + 1, config.train.recompute.end());
  return WithRules(config, rules);
}

}  // namespace choir
