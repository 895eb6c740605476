#include "train/plan_report.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include "base/strings.h"
#include "parallel/pipeline/schedule.h"

namespace choir {
namespace {

template <class... Args>
std::string Format(const char* format, Args... args) {
  char text[320];
  std::snprintf(text, sizeof(text), format, args...);
  return text;
}

std::string CountText(double n) {
  for (const auto& [unit, size] : {std::pair{"T", 1e12}, {"B", 1e9}, {"M", 1e6}, {"k", 1e3}}) {
    if (n >= size) return Format("%.4g %s", n / size, unit);
  }
  return Format("%.4g", n);
}

std::string StagesText(const RunPlan& plan, int rank) {
  const int each = plan.world / plan.layout.degrees.pipe;
  std::string text;
  for (int stage : StagesOf(plan.layout.schedule, rank / each)) {
    const StageLayers& layers = plan.layout.stages[static_cast<size_t>(stage)];
    text += StrCat(text.empty() ? "" : " ", "[", layers.begin, ",", layers.end, ")");
  }
  return text;
}

// Bytes that a rank sends in a step, by group.
std::map<std::string, double> SentByGroup(const StepTrace& trace) {
  std::map<std::string, double> sent;
  for (const CommCount& count : trace.counts) {
    if (count.bytes_sent > 0) sent[count.group] += static_cast<double>(count.bytes_sent);
  }
  return sent;
}

std::string HeadText(const RunPlan& plan) {
  const RunConfig& config = plan.config;
  std::string text = plan.world > 1 ? Describe(plan.layout) + "\n" : "1 rank\n";
  const double per_token =
      plan.ranks.front().trace.flops / std::max(1.0, plan.ranks.front().trace.labels);
  text += Format("model   %s parameters, %s active; %.4g GFLOP per token\n",
                 CountText(static_cast<double>(plan.parameters.total)).c_str(),
                 CountText(static_cast<double>(plan.parameters.active)).c_str(), per_token / 1e9);
  text +=
      Format("step    %lld sequences of %lld tokens, %d microbatches of %lld on each data rank\n",
             static_cast<long long>(config.data.batch_sequences),
             static_cast<long long>(config.data.sequence_length), plan.layout.schedule.microbatches,
             static_cast<long long>(plan.layout.microbatch_rows));
  if (!plan.corpus_known) {
    text += "        (the data are not here: every row is taken as one document of one language)\n";
  }
  return text;
}

std::string MemoryText(const RunPlan& plan, const std::optional<Hardware>& hardware) {
  std::string text = Format(
      "\nmemory of a rank at its fullest, by category and together\n%6s %-16s", "rank", "layers");
  for (int i = 0; i < kNumMemoryCategories; ++i) {
    const std::string name(Name(static_cast<MemoryCategory>(i)));
    text += Format(" %13s", name.c_str());
  }
  text += "         total\n";
  for (const RankPlan& rank : plan.ranks) {
    text += Format("%6d %-16s", rank.rank, StagesText(plan, rank.rank).c_str());
    for (int64_t bytes : rank.trace.peaks.by_category) {
      text += Format(" %13s", ByteText(static_cast<double>(bytes)).c_str());
    }
    const auto total = static_cast<double>(rank.trace.peaks.total);
    text += Format(" %13s", ByteText(total).c_str());
    if (hardware && total > UsableBytes(*hardware)) text += "  does not fit";
    text += "\n";
  }
  const RankPlan& fullest = plan.Fullest();
  text += Format("fullest: rank %d, in %s\n", fullest.rank, fullest.trace.peak_moment.c_str());
  if (hardware) {
    text +=
        Format("%s has %s, of which %s can be planned with\n", hardware->name.c_str(),
               ByteText(hardware->memory.bytes).c_str(), ByteText(UsableBytes(*hardware)).c_str());
  }
  return text;
}

std::string TrafficText(const RunPlan& plan) {
  if (plan.world == 1) return "";
  std::string text = "\nsent in a step\n";
  for (const RankPlan& rank : plan.ranks) {
    text += Format("%6d", rank.rank);
    for (const auto& [group, bytes] : SentByGroup(rank.trace)) {
      text += Format("  %s %s", group.c_str(), ByteText(bytes).c_str());
    }
    text += "\n";
  }
  return text;
}

std::string TimeText(const RunPlan& plan, const Hardware& hardware) {
  const StepTime& time = *plan.time;
  std::string text = Format(
      "\ntime of a step on %s (a model: docs/planning-time.md)\n"
      "  %.4g s: %s tokens/s, %.4g TFLOP/s of a device, MFU %.1f %%, bubble %.1f %%\n",
      hardware.name.c_str(), time.seconds, CountText(time.tokens_per_second).c_str(),
      time.model_flops_per_second / 1e12, 100 * time.mfu, 100 * time.bubble_share());
  static constexpr const char* kKinds[kNumWorkKinds] = {"products", "experts", "attention",
                                                        "memory", "optimizer"};
  text += "  s of the mean rank:";
  for (int i = 0; i < kNumWorkKinds; ++i) {
    text += Format(" %s %.3g", kKinds[i], time.parts.work[static_cast<size_t>(i)]);
  }
  text += Format(", gaps %.3g, host %.3g, bubble %.3g", time.parts.gaps + time.parts.loss,
                 time.parts.host, time.bubble);
  for (const auto& [axis, seconds] : time.parts.exposed) {
    if (seconds > 0) text += Format(", waiting for %s %.3g", axis.c_str(), seconds);
  }
  const RunCost& cost = *plan.cost;
  text += Format(
      "\n  all %lld steps, %s tokens: %.4g hours", static_cast<long long>(plan.config.train.steps),
      CountText(plan.tokens * static_cast<double>(plan.config.train.steps)).c_str(), cost.hours);
  if (cost.megawatt_hours) text += Format(", %.4g MWh", *cost.megawatt_hours);
  if (cost.price)
    text += Format(", %s %s", CountText(*cost.price).c_str(), hardware.currency.c_str());
  return text + "\n";
}

nlohmann::json RankJson(const RunPlan& plan, const RankPlan& rank) {
  const StepTrace& trace = rank.trace;
  nlohmann::json memory;
  for (size_t i = 0; i < trace.peaks.by_category.size(); ++i) {
    memory[std::string(Name(static_cast<MemoryCategory>(i)))] = trace.peaks.by_category[i];
  }
  memory["total"] = trace.peaks.total;
  nlohmann::json sent = nlohmann::json::array();
  for (const CommCount& count : trace.counts) {
    sent.push_back({{"group", count.group},
                    {"operation", count.operation},
                    {"calls", count.calls},
                    {"bytes", count.bytes_sent}});
  }
  double flops = 0;
  for (const StageWorkload& stage : trace.stages) {
    for (const PassWork* pass : {&stage.forward, &stage.backward_input, &stage.backward_weight}) {
      flops += Flops(*pass) * plan.layout.schedule.microbatches;
    }
  }
  return {{"rank", rank.rank},
          {"stages",
           StagesOf(plan.layout.schedule, rank.rank / (plan.world / plan.layout.degrees.pipe))},
          {"parameters", trace.parameters},
          {"memory", memory},
          {"peak_moment", trace.peak_moment},
          {"sent", sent},
          {"flops", flops + Flops(trace.update)}};
}

nlohmann::json TimeJson(const RunPlan& plan) {
  const StepTime& time = *plan.time;
  nlohmann::json json = {{"step_seconds", time.seconds},
                         {"tokens_per_second", time.tokens_per_second},
                         {"model_flops_per_second", time.model_flops_per_second},
                         {"mfu", time.mfu},
                         {"bubble", time.bubble_share()},
                         {"exposed", time.parts.exposed},
                         {"exchanges", time.parts.exchanges},
                         {"hours", plan.cost->hours}};
  if (plan.cost->megawatt_hours) json["megawatt_hours"] = *plan.cost->megawatt_hours;
  if (plan.cost->price) json["price"] = *plan.cost->price;
  return json;
}

}  // namespace

std::string ByteText(double bytes) {
  if (bytes >= 1 << 30) return Format("%.3f GiB", bytes / (1 << 30));
  return Format("%.3f MiB", bytes / (1 << 20));
}

std::string PlanText(const RunPlan& plan, const std::optional<Hardware>& hardware) {
  std::string text = HeadText(plan) + MemoryText(plan, hardware) + TrafficText(plan);
  if (plan.time) text += TimeText(plan, *hardware);
  return text;
}

nlohmann::json PlanJson(const RunPlan& plan, const std::optional<Hardware>& hardware) {
  nlohmann::json json = {{"world", plan.world},
                         {"layout", Describe(plan.layout)},
                         {"corpus_known", plan.corpus_known},
                         {"microbatches", plan.layout.schedule.microbatches},
                         {"parameters", plan.parameters.total},
                         {"active_parameters", plan.parameters.active},
                         {"tokens_per_step", plan.tokens},
                         {"model_flops_per_step", plan.ranks.front().trace.flops}};
  for (const RankPlan& rank : plan.ranks) json["ranks"].push_back(RankJson(plan, rank));
  if (hardware) {
    json["hardware"] = {{"name", hardware->name},
                        {"memory_bytes", hardware->memory.bytes},
                        {"usable_bytes", UsableBytes(*hardware)}};
    json["fits"] = Fits(plan, *hardware);
  }
  if (plan.time) json["time"] = TimeJson(plan);
  return json;
}

}  // namespace choir
