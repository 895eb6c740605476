#include "train/run_plan.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <memory>
#include <set>
#include <thread>

#include "base/status.h"
#include "base/strings.h"
#include "data/shard/token_corpus.h"
#include "train/auto_layout.h"
#include "train/recompute_budget.h"
#include "train/recompute_rules.h"

namespace choir {
namespace {

int64_t WorldOf(const RunConfig& config, const PlanRequest& request) {
  if (request.world > 0) return request.world;
  const ParallelConfig& p = config.parallel;
  return int64_t{p.pipeline} * p.context * p.tensor * p.data.value_or(std::max(1, p.shard));
}

absl::Status ChooseLayout(const PlanRequest& request, int node_size, RunPlan& plan) {
  if (!plan.config.parallel.auto_layout) return absl::OkStatus();
  ParallelConfig& parallel = plan.config.parallel;
  if (!parallel.rank_memory_gib && request.hardware) {
    parallel.rank_memory_gib = UsableBytes(*request.hardware) / (1 << 30);
  }
  if (!parallel.rank_memory_gib) {
    return absl::InvalidArgumentError(
        "parallel.auto_layout needs parallel.rank_memory_gib, or --hardware, to plan with");
  }
  const auto world = DryWorld({0, plan.world, node_size});
  ASSIGN_OR_RETURN(plan.config, WithChosenLayout(plan.config, world.get()));
  return absl::OkStatus();
}

absl::Status ChooseRecompute(const PlanRequest& request, int node_size, RunPlan& plan) {
  if (!HasBudget(plan.config)) return absl::OkStatus();
  BudgetRequest budget{.world = plan.world, .node_size = node_size};
  if (request.hardware) {
    budget.bytes = static_cast<int64_t>(UsableBytes(*request.hardware));
    budget.hardware = &*request.hardware;
  } else if (!ParseRecompute(plan.config.train.recompute).budget->bytes) {
    return absl::InvalidArgumentError(
        "train.recompute: budget=auto: needs --hardware, whose memory it is to fit");
  }
  ASSIGN_OR_RETURN(plan.config, WithChosenRecompute(plan.config, budget));
  return absl::OkStatus();
}

// The ranks of a pipe coordinate differ by how uneven sizes are cut, and by what ends are theirs.
std::vector<int> RanksToRun(const PlanRequest& request, const RunLayout& layout, int world) {
  if (!request.ranks.empty()) return request.ranks;
  const int each = world / layout.degrees.pipe;
  std::set<int> ranks;
  for (int p = 0; p < layout.degrees.pipe; ++p) {
    if (request.sample && p > 1 && p < layout.degrees.pipe - 1) continue;
    ranks.insert(p * each);
    if (!request.sample) ranks.insert((p + 1) * each - 1);
  }
  return {ranks.begin(), ranks.end()};
}

absl::StatusOr<RankPlan> RunRank(const RunPlan& plan, const PlanRequest& request, int rank,
                                 int node_size) {
  WorstRouting worst(plan.config.parallel.capacity_factor,
                     plan.layout.degrees.context * plan.layout.degrees.tensor);
  BalancedRouting balanced;
  SkewedRouting skewed(request.skew);
  TraceRequest trace;
  trace.place = {rank, plan.world, std::max(1, node_size)};
  trace.data.languages = plan.languages;
  trace.routing = &balanced;
  if (request.routing == PlannedRouting::kWorst) trace.routing = &worst;
  if (request.routing == PlannedRouting::kSkewed) trace.routing = &skewed;
  trace.workload = true;
  ASSIGN_OR_RETURN(StepTrace result, TraceStep(plan.config, trace));
  return RankPlan{rank, std::move(result)};
}

// On as many threads as there are processors: a trace is the work of one.
absl::Status RunRanks(const PlanRequest& request, int node_size, RunPlan& plan) {
  const std::vector<int> ranks = RanksToRun(request, plan.layout, plan.world);
  for (int rank : ranks) {
    if (rank >= 0 && rank < plan.world) continue;
    return absl::InvalidArgumentError(StrCat("there is no rank ", rank, " among ", plan.world));
  }
  std::vector<absl::StatusOr<RankPlan>> results(ranks.size(), absl::UnknownError("not run"));
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < ranks.size(); i = next++) {
      results[i] = RunRank(plan, request, ranks[i], node_size);
    }
  };
  const size_t threads =
      std::min<size_t>(ranks.size(), std::max(1u, std::thread::hardware_concurrency()));
  std::vector<std::thread> others;
  for (size_t i = 1; i < threads; ++i) others.emplace_back(work);
  work();
  for (std::thread& other : others) other.join();
  for (auto& result : results) {
    RETURN_IF_ERROR(result.status());
    plan.ranks.push_back(*std::move(result));
  }
  return absl::OkStatus();
}

// Of the ranks that were run only by default, the fuller one of each pipe coordinate.
void KeepWorst(const RunLayout& layout, RunPlan& plan) {
  const int each = plan.world / layout.degrees.pipe;
  std::vector<RankPlan> kept;
  for (RankPlan& rank : plan.ranks) {
    const bool same = !kept.empty() && kept.back().rank / each == rank.rank / each;
    if (!same) {
      kept.push_back(std::move(rank));
    } else if (rank.trace.peaks.total > kept.back().trace.peaks.total) {
      kept.back() = std::move(rank);
    }
  }
  plan.ranks = std::move(kept);
}

// Stages of ranks that were not run do what those of the second one do.
void FillFromSecond(const RunPlan& plan, StepWorkload& step) {
  if (plan.layout.degrees.pipe < 3) return;
  const std::vector<StageWorkload>& second = plan.ranks[1].trace.stages;
  const auto known = std::find_if(second.begin(), second.end(),
                                  [](const StageWorkload& s) { return !s.forward.work.empty(); });
  if (known != second.end()) std::fill(step.stages.begin(), step.stages.end(), *known);
}

StepWorkload WorkloadOf(const RunPlan& plan, const Hardware& hardware) {
  StepWorkload step{.schedule = plan.layout.schedule, .ranks = plan.world};
  step.stages.resize(static_cast<size_t>(plan.layout.schedule.stages()));
  double slowest = -1;
  FillFromSecond(plan, step);
  for (const RankPlan& rank : plan.ranks) {
    for (size_t i = 0; i < rank.trace.stages.size(); ++i) {
      const StageWorkload& stage = rank.trace.stages[i];
      if (!stage.forward.work.empty()) step.stages[i] = stage;
    }
    const double seconds = PassTime(rank.trace.update, hardware).Total();
    if (seconds > slowest) step.update = rank.trace.update;
    slowest = std::max(slowest, seconds);
    step.tokens = rank.trace.labels;
    step.model_flops = rank.trace.flops;
  }
  return step;
}

}  // namespace

absl::Status ResolveFromData(RunPlan& plan) {
  RunConfig& config = plan.config;
  if (!config.data.path.empty() && std::filesystem::exists(config.data.path)) {
    ASSIGN_OR_RETURN(const auto corpus, TokenCorpus::Open(config.data.path));
    ASSIGN_OR_RETURN(config, ResolveConfig(config, corpus->tokenizer().vocab_size));
    plan.languages = static_cast<int64_t>(corpus->languages().size());
    plan.corpus_known = true;
    return absl::OkStatus();
  }
  if (config.model.vocab_size) return absl::OkStatus();
  return absl::InvalidArgumentError(StrCat("model.vocab_size is auto, and there are no data at ",
                                           config.data.path,
                                           " to take it from: set it to plan without them"));
}

const RankPlan& RunPlan::Fullest() const {
  return *std::max_element(ranks.begin(), ranks.end(), [](const RankPlan& a, const RankPlan& b) {
    return a.trace.peaks.total < b.trace.peaks.total;
  });
}

absl::StatusOr<RunPlan> PlanRun(const RunConfig& config, const PlanRequest& request) {
  RunPlan plan{.config = config};
  RETURN_IF_ERROR(ResolveFromData(plan));
  int node_size = request.node_size;
  if (node_size == 0) node_size = config.parallel.node_size.value_or(0);
  if (node_size == 0 && request.hardware) node_size = request.hardware->links.ranks_per_node;
  const int64_t world = WorldOf(config, request);
  if (world > ParallelConfig::kMaxDegree) {
    return absl::InvalidArgumentError(StrCat(world, " ranks are more than the ",
                                             ParallelConfig::kMaxDegree, " that can be planned"));
  }
  plan.world = static_cast<int>(world);
  RETURN_IF_ERROR(ChooseLayout(request, std::max(1, node_size), plan));
  ASSIGN_OR_RETURN(plan.layout, PlanLayout(plan.config, plan.world));
  RETURN_IF_ERROR(ChooseRecompute(request, std::max(1, node_size), plan));
  const int64_t vocabulary = *plan.config.model.vocab_size;
  plan.parameters = CountParameters(plan.config.model, vocabulary);
  plan.flops = CountFlops(plan.config.model, vocabulary);
  RETURN_IF_ERROR(RunRanks(request, node_size, plan));
  if (request.ranks.empty()) KeepWorst(plan.layout, plan);
  plan.tokens = plan.ranks.front().trace.labels;
  if (request.hardware && request.ranks.empty()) {
    ASSIGN_OR_RETURN(plan.time,
                     PredictStep(WorkloadOf(plan, *request.hardware), *request.hardware));
    plan.cost = CostOfRun(*plan.time, *request.hardware, plan.world,
                          plan.tokens * static_cast<double>(plan.config.train.steps));
  }
  return plan;
}

}  // namespace choir
