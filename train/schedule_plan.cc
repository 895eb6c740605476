#include "train/schedule_plan.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/status.h"
#include "base/strings.h"
#include "parallel/pipeline/schedule_chart.h"
#include "train/layout.h"

namespace choir {
namespace {

// A schedule, run on paper with F = I = W = 1, and the layers of its stages.
struct SchedulePlan {
  ScheduleSpec spec;
  std::vector<StageLayers> layers;
  ActionLists lists;
  ScheduleRun run;
  std::optional<double> bubble;  // by the formula, in units of time
};

// The config with the arguments that change its pipeline.
absl::StatusOr<RunConfig> WithArguments(const ScheduleArguments& arguments, RunConfig config) {
  ParallelConfig& p = config.parallel;
  if (p.auto_layout) {
    return absl::InvalidArgumentError(
        "choir plan --schedule: parallel.auto_layout chooses when the job starts; set the degrees");
  }
  if (arguments.stages) {
    p.pipeline = *arguments.stages;
    p.layers_per_stage.clear();
  }
  if (arguments.kind) {
    ASSIGN_OR_RETURN(p.schedule, ParsePipelineKind(*arguments.kind));
    const bool several =
        p.schedule == PipelineKind::kInterleaved || p.schedule == PipelineKind::kDualPipeV;
    p.virtual_stages = several ? std::max(2, p.virtual_stages) : 1;
  }
  if (arguments.chunks) p.virtual_stages = *arguments.chunks;
  if (arguments.microbatches) {
    config.train.microbatch_sequences = 1;
    config.train.batch_ramp = BatchRampConfig();
    config.data.batch_sequences = int64_t{*arguments.microbatches} * p.data.value_or(1);
  }
  if (p.pipeline == 1) {
    return absl::InvalidArgumentError(
        "choir plan --schedule: parallel.pipeline is 1; set it, or give --stages");
  }
  return config;
}

absl::StatusOr<RunLayout> LayoutOf(const ScheduleArguments& arguments, const RunConfig& given) {
  ASSIGN_OR_RETURN(const RunConfig config, WithArguments(arguments, given));
  const ParallelConfig& p = config.parallel;
  const int64_t others = int64_t{p.pipeline} * p.context * p.tensor;
  const int64_t world = arguments.world.value_or(static_cast<int>(
      std::min<int64_t>(others * p.data.value_or(1), std::numeric_limits<int>::max())));
  ASSIGN_OR_RETURN(RunLayout layout, PlanLayout(config, static_cast<int>(world)));
  constexpr int64_t kMost = 1 << 20;
  const int64_t passes = int64_t{layout.schedule.stages()} * layout.schedule.microbatches;
  if (passes > kMost) {
    return absl::InvalidArgumentError(
        choir::StrCat("choir plan --schedule: ", layout.schedule.stages(), " stages with ",
                      layout.schedule.microbatches, " microbatches are ", passes,
                      " cells; at most ", kMost, " are drawn"));
  }
  return layout;
}

SchedulePlan PlanSchedule(const RunLayout& layout) {
  SchedulePlan plan;
  plan.spec = layout.schedule;
  plan.layers = layout.stages;
  const StageCosts costs;
  plan.lists = AllActions(plan.spec);
  plan.run = RunSchedule(plan.spec, plan.lists, costs);
  CHECK(!plan.run.deadlock()) << plan.run.DescribeBlocked();
  plan.bubble = ScheduleBubble(plan.spec, costs);
  return plan;
}

std::string Percent(double part, double whole) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %%", 100 * part / whole);
  return text;
}

std::string Text(const SchedulePlan& plan, int columns) {
  const ScheduleSpec& spec = plan.spec;
  std::string text = choir::StrCat(Name(spec.kind), ": stages per rank ", spec.chunks, ", ranks ",
                                   spec.ranks, ", microbatches ", spec.microbatches, "\n\n");
  text += ScheduleChart(spec, plan.lists, plan.run, columns);
  text += "\nF forward, B backward, I input gradients, W weight gradients of a microbatch\n";
  if (spec.chunks > 1) text += "a, b, ... the stages of a rank\n";
  text += "Times F = I = W = 1, B = 2, sends none; activations held are of a stage each\n\n";
  text += choir::StrCat("step      ", plan.run.makespan, "\n");
  const double makespan = plan.run.makespan;
  for (int r = 0; r < spec.ranks; ++r) {
    const ScheduleRun::Rank& rank = plan.run.ranks[static_cast<size_t>(r)];
    text += choir::StrCat("rank ", r, "    idle ", rank.idle, " (", Percent(rank.idle, makespan),
                          "), activations held ", rank.peak_in_flight, ", layers");
    for (int stage : StagesOf(spec, r)) {
      const StageLayers& layers = plan.layers[static_cast<size_t>(stage)];
      text += choir::StrCat(" [", layers.begin, ", ", layers.end, ")");
    }
    text += "\n";
  }
  if (plan.bubble) {
    text += choir::StrCat("formula   idle ", *plan.bubble, " (", Percent(*plan.bubble, makespan),
                          ")\n");
  }
  return text;
}

nlohmann::json JsonOf(const SchedulePlan& plan) {
  const ScheduleSpec& spec = plan.spec;
  nlohmann::json json = {{"kind", Name(spec.kind)},        {"ranks", spec.ranks},
                         {"stages_per_rank", spec.chunks}, {"microbatches", spec.microbatches},
                         {"makespan", plan.run.makespan},  {"bubble_formula", nullptr}};
  if (plan.bubble) json["bubble_formula"] = *plan.bubble;
  for (const StageLayers& layers : plan.layers) {
    json["stages"].push_back({{"layer_begin", layers.begin}, {"layer_end", layers.end}});
  }
  for (int stage = 0; stage < spec.stages(); ++stage) {
    json["stages"][static_cast<size_t>(stage)]["rank"] = StageOwner(spec, stage);
  }
  for (size_t r = 0; r < plan.lists.size(); ++r) {
    const ScheduleRun::Rank& rank = plan.run.ranks[r];
    nlohmann::json actions = nlohmann::json::array();
    for (size_t i = 0; i < plan.lists[r].size(); ++i) {
      const Action& a = plan.lists[r][i];
      actions.push_back({{"kind", std::string(1, "FBIW"[static_cast<size_t>(a.kind)])},
                         {"stage", a.stage},
                         {"microbatch", a.microbatch},
                         {"begin", rank.spans[i].begin},
                         {"end", rank.spans[i].end}});
    }
    json["per_rank"].push_back({{"busy", rank.busy},
                                {"idle", rank.idle},
                                {"activations_in_flight", rank.peak_in_flight},
                                {"actions", std::move(actions)}});
  }
  return json;
}

}  // namespace

absl::StatusOr<std::string> ShowSchedule(const ScheduleArguments& arguments,
                                         const RunConfig& config) {
  ASSIGN_OR_RETURN(const RunLayout layout, LayoutOf(arguments, config));
  const SchedulePlan plan = PlanSchedule(layout);
  return arguments.json ? JsonOf(plan).dump(2) + "\n" : Text(plan, arguments.columns);
}

}  // namespace choir
