// `choir plan`
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "base/file.h"
#include "base/status.h"
#include "base/strings.h"
#include "train/commands.h"
#include "train/config.h"
#include "train/exit_code.h"
#include "train/plan_advice.h"
#include "train/plan_pareto.h"
#include "train/plan_report.h"
#include "train/run_plan.h"
#include "train/schedule_plan.h"

namespace choir {
namespace {

constexpr const char* kDefaultHardware = "h100";
constexpr size_t kWays = 3, kLayoutsPlanned = 24, kLayoutsShown = 10;

struct PlanArguments {
  std::string config;
  std::optional<std::string> hardware;
  std::string routing = "balanced";
  std::optional<int> node_size;
  std::vector<int> ranks;
  bool show_schedule = false, search = false, pareto = false;
  ScheduleArguments schedule;  // world and json are of all
};

// A file, or the name of one in the folder hardware/ beside the config. None where none was asked
// for and the usual one is not there.
absl::StatusOr<std::optional<Hardware>> FindHardware(const PlanArguments& arguments) {
  const std::string name = arguments.hardware.value_or(kDefaultHardware);
  const auto folder = std::filesystem::path(arguments.config).parent_path() / "hardware";
  const std::string beside = (folder / (name + ".yaml")).string();
  if (std::filesystem::exists(beside)) return LoadHardware(beside);
  if (!arguments.hardware) return std::optional<Hardware>();
  if (std::filesystem::exists(name)) return LoadHardware(name);
  return absl::NotFoundError(StrCat("--hardware: there is neither a file ", name, " nor ", beside));
}

// A number, or what a run has measured: the load of its busiest expert over the mean.
absl::StatusOr<double> SkewOf(const std::string& routing) {
  char* end = nullptr;
  const double number = std::strtod(routing.c_str(), &end);
  if (!routing.empty() && *end == '\0' && number >= 1) return number;
  const std::string path = routing + "/metrics.jsonl";
  if (!std::filesystem::exists(path)) {
    return absl::InvalidArgumentError(
        StrCat("--routing: ", routing,
               " is neither balanced, worst, a number from 1 on nor the "
               "folder of a run"));
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  double most = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto entry = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (entry.is_object() && entry.contains("expert_load_max") &&
        entry["expert_load_max"].is_number()) {
      most = std::max(most, entry["expert_load_max"].get<double>());
    }
  }
  if (most >= 1) return most;
  return absl::InvalidArgumentError(
      StrCat("--routing: ", path, " has no expert_load_max: a run without experts?"));
}

absl::StatusOr<PlanRequest> RequestOf(const PlanArguments& arguments) {
  PlanRequest request;
  ASSIGN_OR_RETURN(request.hardware, FindHardware(arguments));
  request.world = arguments.schedule.world.value_or(0);
  request.node_size = arguments.node_size.value_or(0);
  request.ranks = arguments.ranks;
  if (arguments.routing == "balanced") return request;
  if (arguments.routing == "worst") {
    request.routing = PlannedRouting::kWorst;
    return request;
  }
  request.routing = PlannedRouting::kSkewed;
  ASSIGN_OR_RETURN(request.skew, SkewOf(arguments.routing));
  return request;
}

std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += StrCat(text.empty() ? "" : " ", word);
  return text;
}

std::string AdviceText(const std::vector<Advice>& advice, const Hardware& hardware) {
  std::string text;
  for (const Advice& a : advice) {
    char line[160];
    const auto total = static_cast<double>(a.plan.Fullest().trace.peaks.total);
    std::snprintf(line, sizeof(line), "  %10.4g s  %5.1f %%  %12s  %s  ", a.plan.time->seconds,
                  100 * a.plan.time->mfu, ByteText(total).c_str(),
                  Fits(a.plan, hardware) ? "fits        " : "does not fit");
    text += line + Joined(a.overrides) + "\n";
  }
  return text;
}

nlohmann::json AdviceJson(const std::vector<Advice>& advice, const Hardware& hardware) {
  nlohmann::json json = nlohmann::json::array();
  for (const Advice& a : advice) {
    json.push_back({{"overrides", a.overrides},
                    {"step_seconds", a.plan.time->seconds},
                    {"mfu", a.plan.time->mfu},
                    {"bytes", a.plan.Fullest().trace.peaks.total},
                    {"fits", Fits(a.plan, hardware)}});
  }
  return json;
}

constexpr const char* kAdviceHead = "        step    MFU  fullest rank                change\n";

absl::Status ShowPlan(const PlanArguments& arguments, const RunConfig& config) {
  ASSIGN_OR_RETURN(const PlanRequest request, RequestOf(arguments));
  ASSIGN_OR_RETURN(const RunPlan plan, PlanRun(config, request));
  std::vector<Advice> ways;
  const bool advise = request.hardware && request.ranks.empty() && !Fits(plan, *request.hardware);
  if (advise) ways = WaysToFit(config, request, kWays);
  if (arguments.schedule.json) {
    nlohmann::json json = PlanJson(plan, request.hardware);
    if (advise) json["ways_to_fit"] = AdviceJson(ways, *request.hardware);
    std::cout << json.dump(2) << "\n";
    return absl::OkStatus();
  }
  std::cout << PlanText(plan, request.hardware);
  if (!request.hardware) {
    std::cout << "\nno hardware was given (--hardware FILE): no time, and nothing is said to fit\n";
  }
  if (advise) {
    std::cout << "\nIt does not fit. "
              << (ways.empty() ? "No change that was tried makes it fit: use more ranks.\n"
                               : "What makes it fit, cheapest first:\n")
              << (ways.empty() ? "" : kAdviceHead) << AdviceText(ways, *request.hardware);
  }
  return absl::OkStatus();
}

absl::Status ShowSearch(const PlanArguments& arguments, const RunConfig& config) {
  ASSIGN_OR_RETURN(const PlanRequest request, RequestOf(arguments));
  if (!request.hardware || request.world == 0) {
    return absl::InvalidArgumentError(
        "choir plan --search: needs --world, the ranks to lay out, and --hardware to judge by");
  }
  ASSIGN_OR_RETURN(const auto layouts,
                   SearchLayouts(config, request, kLayoutsPlanned, kLayoutsShown));
  if (arguments.schedule.json) {
    std::cout << AdviceJson(layouts, *request.hardware).dump(2) << "\n";
  } else {
    std::cout << "layouts of " << request.world << " ranks on " << request.hardware->name
              << ", of those that were planned the best " << layouts.size() << "\n"
              << kAdviceHead << AdviceText(layouts, *request.hardware);
  }
  return absl::OkStatus();
}

absl::Status ShowPareto(const PlanArguments& arguments, const RunConfig& config) {
  ASSIGN_OR_RETURN(const PlanRequest request, RequestOf(arguments));
  if (!request.hardware || !request.ranks.empty()) {
    return absl::InvalidArgumentError(
        "choir plan --pareto: needs --hardware to tell time, and chooses the rank itself");
  }
  ASSIGN_OR_RETURN(const Pareto pareto, PlanPareto(config, request));
  std::cout << (arguments.schedule.json ? ParetoJson(pareto).dump(2) + "\n" : ParetoText(pareto));
  return absl::OkStatus();
}

absl::Status Plan(const PlanArguments& arguments, const std::vector<Override>& overrides) {
  // What runs elsewhere can be planned here: its files may be missing.
  ASSIGN_OR_RETURN(const auto config,
                   LoadConfigWith<RunConfig>(arguments.config, overrides, {.check_paths = false}));
  if (arguments.search) return ShowSearch(arguments, config);
  if (arguments.pareto) return ShowPareto(arguments, config);
  if (!arguments.show_schedule) return ShowPlan(arguments, config);
  ASSIGN_OR_RETURN(const std::string text, ShowSchedule(arguments.schedule, config));
  std::cout << text;
  return absl::OkStatus();
}

}  // namespace

void AddPlanCommand(Program& program) {
  CLI::App* plan = program.app.add_subcommand(
      "plan", "Memory, traffic and time of a run, before it runs (docs/planning.md)");
  auto arguments = std::make_shared<PlanArguments>();
  ScheduleArguments& s = arguments->schedule;
  plan->add_option("config", arguments->config, "config of a run")->required();
  plan->add_option("--world", s.world, "ranks of the job (default: those of the config's degrees)")
      ->check(CLI::Range(1, ParallelConfig::kMaxDegree));
  plan->add_flag("--json", s.json, "for programs: bytes, seconds, FLOP");
  plan->add_option("--hardware", arguments->hardware,
                   "what it runs on: a file of `choir doctor --measure`, or a name in hardware/ "
                   "beside the config (default: h100, if it is there)");
  plan->add_option("--node-size", arguments->node_size,
                   "ranks of a node (default: parallel.node_size, else the hardware's)")
      ->check(CLI::Range(1, ParallelConfig::kMaxDegree));
  plan->add_option("--routing", arguments->routing,
                   "tokens of experts: balanced; a number: the load of the planned rank's over the "
                   "mean; the folder of a run: its busiest expert's; worst: all choose the planned "
                   "rank's");
  plan->add_option("--ranks", arguments->ranks,
                   "ranks to run (default: the fuller of the first and the last of each stage)")
      ->delimiter(',');
  CLI::Option* search =
      plan->add_flag("--search", arguments->search, "rank layouts for --world instead");
  plan->add_flag("--pareto", arguments->pareto,
                 "memory against time of recomputation, for the fullest rank, instead")
      ->excludes(search);
  CLI::Option* schedule =
      plan->add_flag("--schedule", arguments->show_schedule, "show a pipeline schedule instead");
  schedule->excludes(search);
  auto add = [&](const char* name, auto& value, const char* help) {
    return plan->add_option(name, value, help)->needs(schedule);
  };
  add("--kind", s.kind,
      "gpipe, 1f1b, interleaved, zero_bubble or dualpipev (default: parallel.schedule)");
  add("--stages", s.stages, "ranks of the pipeline (default: parallel.pipeline)")
      ->check(CLI::Range(1, ParallelConfig::kMaxDegree));
  add("--microbatches", s.microbatches, "of a data rank in a step (default: those of the config)")
      ->check(CLI::Range(1, 1 << 20));
  add("--virtual", s.chunks, "stages of a rank (default: parallel.virtual_stages)")
      ->check(CLI::Range(1, ParallelConfig::kMaxDegree));
  add("--width", s.columns, "columns of the chart (default 100)")->check(CLI::Range(20, 1000000));
  plan->callback([&program, arguments] {
    program.takes_overrides = true;
    program.run = [&program, arguments] {
      return ReportError(Plan(*arguments, program.overrides));
    };
  });
}

}  // namespace choir
