// `choir plan`
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/strings.h"
#include "parallel/pipeline/schedule_chart.h"
#include "parallel/pipeline/stage_layers.h"
#include "train/commands.h"
#include "train/config.h"
#include "train/exit_code.h"

namespace choir {
namespace {

// As typed; what is absent is to come from the config.
struct PlanArguments {
  std::string config;
  bool schedule = false;
  std::string kind = "1f1b";
  std::optional<int> stages, microbatches, chunks;
  int columns = 100;
  bool json = false;
};

// A schedule, run on paper with F = I = W = 1, and the layers of its stages.
struct SchedulePlan {
  ScheduleSpec spec;
  std::vector<StageLayers> layers;
  ActionLists lists;
  ScheduleRun run;
  std::optional<double> bubble;  // by the formula, in units of time
};

absl::StatusOr<ScheduleSpec> SpecOf(const PlanArguments& arguments) {
  if (!arguments.stages || !arguments.microbatches) {
    return absl::InvalidArgumentError(
        "choir plan --schedule needs --stages P and --microbatches M: a config does not say them");
  }
  ScheduleSpec spec;
  ASSIGN_OR_RETURN(spec.kind, ParsePipelineKind(arguments.kind));
  const bool several =
      spec.kind == PipelineKind::kInterleaved || spec.kind == PipelineKind::kDualPipeV;
  spec.ranks = *arguments.stages;
  spec.chunks = arguments.chunks.value_or(several ? 2 : 1);
  spec.microbatches = *arguments.microbatches;
  RETURN_IF_ERROR(CheckSchedule(spec));
  constexpr int64_t kMost = 1 << 20;
  const int64_t passes = int64_t{spec.stages()} * spec.microbatches;
  if (passes > kMost) {
    return absl::InvalidArgumentError(
        choir::StrCat("choir plan --schedule: ", spec.stages(), " stages with ", spec.microbatches,
                      " microbatches are ", passes, " cells; at most ", kMost, " are drawn"));
  }
  return spec;
}

absl::StatusOr<SchedulePlan> PlanSchedule(const ScheduleSpec& spec, int layers) {
  SchedulePlan plan;
  plan.spec = spec;
  ASSIGN_OR_RETURN(plan.layers, SplitLayers({.layers = layers, .stages = spec.stages()}));
  const StageCosts costs;
  plan.lists = AllActions(spec);
  plan.run = RunSchedule(spec, plan.lists, costs);
  CHECK(!plan.run.deadlock()) << plan.run.DescribeBlocked();
  plan.bubble = ScheduleBubble(spec, costs);
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

nlohmann::json Json(const SchedulePlan& plan) {
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

absl::Status Plan(const PlanArguments& arguments, const std::vector<Override>& overrides) {
  ASSIGN_OR_RETURN(const auto config, LoadConfigWith<RunConfig>(arguments.config, overrides));
  if (!arguments.schedule) {
    return absl::InvalidArgumentError(
        "choir plan: the memory plan is not available yet; --schedule shows a pipeline schedule");
  }
  ASSIGN_OR_RETURN(const ScheduleSpec spec, SpecOf(arguments));
  ASSIGN_OR_RETURN(const SchedulePlan plan, PlanSchedule(spec, config.model.layers));
  std::cout << (arguments.json ? Json(plan).dump(2) + "\n" : Text(plan, arguments.columns));
  return absl::OkStatus();
}

}  // namespace

void AddPlanCommand(Program& program) {
  CLI::App* plan = program.app.add_subcommand("plan", "What a run will do, before it runs");
  auto arguments = std::make_shared<PlanArguments>();
  plan->add_option("config", arguments->config, "config of a run")->required();
  CLI::Option* schedule =
      plan->add_flag("--schedule", arguments->schedule, "chart of a pipeline schedule");
  auto add = [&](const char* name, auto& value, const char* help) {
    return plan->add_option(name, value, help)->needs(schedule);
  };
  add("--kind", arguments->kind, "gpipe, 1f1b (default), interleaved, zero_bubble or dualpipev");
  add("--stages", arguments->stages, "ranks of the pipeline");
  add("--microbatches", arguments->microbatches, "of each step");
  add("--virtual", arguments->chunks, "stages of each rank (interleaved; default 2)");
  add("--width", arguments->columns, "columns of the chart (default 100)")
      ->check(CLI::Range(20, 1000000));
  plan->add_flag("--json", arguments->json, "for programs")->needs(schedule);
  plan->callback([&program, arguments] {
    program.takes_overrides = true;
    program.run = [&program, arguments] {
      return ReportError(Plan(*arguments, program.overrides));
    };
  });
}

}  // namespace choir
