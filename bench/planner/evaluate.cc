#include "bench/planner/evaluate.h"

#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "bench/planner/published_model.h"
#include "bench/planner/statistics.h"

namespace choir::planner {
namespace {

using Samples = std::vector<const Sample*>;

bool Calibrates(const Sample& sample) { return sample.run->split == "calibrate"; }

// Rows that may teach constants for a family: others of its system; where these are fewer than
// three, others of its machine.
Samples TeachersWithout(const Bench& bench, const PublishedRun& run) {
  Samples same, machine;
  for (const Sample& sample : bench.samples) {
    if (!Calibrates(sample) || sample.run->family == run.family) continue;
    if (sample.run->machine == run.machine) machine.push_back(&sample);
    if (sample.run->system == run.system) same.push_back(&sample);
  }
  return same.size() >= 3 ? same : machine;
}

double ScaleOf(const Samples& teachers) {
  std::vector<double> ratios;
  for (const Sample* sample : teachers) {
    ratios.push_back(sample->run->seconds / PredictSeconds(*sample, UsualValues()));
  }
  return ratios.empty() ? 1 : Median(ratios);
}

std::map<std::string, std::vector<double>> RatesByFamily(const Bench& bench) {
  std::map<std::string, std::vector<double>> rates;
  for (const Sample& sample : bench.samples) {
    rates[sample.run->family].push_back(sample.step.model_flops / sample.step.ranks /
                                        sample.run->seconds);
  }
  return rates;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Bench>> LoadBench(const std::string& source_folder) {
  auto bench = std::make_unique<Bench>();
  ASSIGN_OR_RETURN(bench->data,
                   LoadReferenceData(source_folder + "/bench/planner/reference_runs.jsonl"));
  for (const PublishedRun& run : bench->data.runs) {
    if (!run.excluded.empty()) continue;
    if (!bench->machines.contains(run.machine)) {
      const std::string path =
          choir::StrCat(source_folder, "/configs/hardware/", run.machine, ".yaml");
      ASSIGN_OR_RETURN(bench->machines[run.machine], LoadHardware(path));
    }
    bench->samples.push_back(MakeSample(run, bench->machines[run.machine]));
  }
  return bench;
}

FrozenConstants FitAll(const Bench& bench) {
  std::map<std::string, Samples> groups;
  for (const Sample& sample : bench.samples) {
    if (!Calibrates(sample)) continue;
    groups[sample.run->machine].push_back(&sample);
    groups[sample.run->system].push_back(&sample);
  }
  FrozenConstants frozen;
  for (const auto& [name, samples] : groups) {
    frozen.Add(name, static_cast<int>(samples.size()), Fit(samples));
  }
  return frozen;
}

std::vector<RowResult> EvaluateAll(const Bench& bench, const FrozenConstants& frozen) {
  const auto rates = RatesByFamily(bench);
  struct Lesson {
    Values values;
    double scale = 1;
  };
  std::map<std::string, Lesson> lessons;
  std::vector<RowResult> results;
  for (const Sample& sample : bench.samples) {
    const PublishedRun& run = *sample.run;
    if (!lessons.contains(run.family)) {
      const Samples teachers = TeachersWithout(bench, run);
      lessons[run.family] = {Fit(teachers), ScaleOf(teachers)};
    }
    const Lesson& lesson = lessons[run.family];
    RowResult row{.sample = &sample};
    row.datasheet = PredictSecondsInFull(sample, UsualValues());
    row.scaled = row.datasheet * lesson.scale;
    row.fitted = PredictSecondsInFull(sample, frozen.Of(run.system));
    row.crossed = PredictSecondsInFull(sample, lesson.values);
    row.constant = sample.step.model_flops / sample.step.ranks / Median(rates.at(run.family));
    results.push_back(row);
  }
  return results;
}

}  // namespace choir::planner
