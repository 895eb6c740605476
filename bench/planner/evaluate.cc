#include "bench/planner/evaluate.h"

#include <functional>
#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "bench/planner/published_model.h"
#include "bench/planner/statistics.h"

namespace choir::planner {
namespace {

using Samples = std::vector<const Sample*>;

bool Calibrates(const Sample& sample) { return sample.run->split == "calibrate"; }

Samples Select(const Bench& bench, const std::function<bool(const PublishedRun&)>& keep) {
  Samples kept;
  for (const Sample& sample : bench.samples) {
    if (Calibrates(sample) && keep(*sample.run)) kept.push_back(&sample);
  }
  return kept;
}

// A system's constants start from those of its kin and keep near them.
constexpr double kKinWidth = 0.6;

Values FitSystem(const Values& kin, const Samples& own) { return Fit(own, {kin, kKinWidth}); }

// Rows that may teach constants for a family: others of its system; where these are fewer than
// three, others of its machine.
Samples TeachersWithout(const Bench& bench, const PublishedRun& run) {
  const Samples own = Select(bench, [&](const PublishedRun& other) {
    return other.system == run.system && other.family != run.family;
  });
  if (own.size() >= 3) return own;
  return Select(bench, [&](const PublishedRun& other) {
    return other.machine == run.machine && other.family != run.family;
  });
}

Samples KinWithout(const Bench& bench, const PublishedRun& run) {
  return Select(bench, [&](const PublishedRun& other) {
    return other.kin == run.kin && other.model.name != run.model.name;
  });
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

// What is learnt for a family without it.
struct Lesson {
  const PublishedRun* run = nullptr;  // one of the family
  Values values;
  double scale = 1;
};

std::string KinKey(const PublishedRun& run) { return run.kin + "|" + run.model.name; }

// Fits share nothing: each thread takes the next.
void ForEach(size_t count, const std::function<void(size_t)>& work) {
#pragma omp parallel for schedule(dynamic)
  for (size_t i = 0; i < count; ++i) work(i);
}

void LearnKin(const Bench& bench, std::map<std::string, Values>& kin) {
  std::map<std::string, const PublishedRun*> runs;
  for (const Sample& sample : bench.samples) runs[KinKey(*sample.run)] = sample.run;
  std::vector<std::pair<const PublishedRun*, Values*>> jobs;
  for (auto& [key, values] : kin) jobs.emplace_back(runs[key], &values);
  ForEach(jobs.size(), [&](size_t i) { *jobs[i].second = Fit(KinWithout(bench, *jobs[i].first)); });
}

void LearnFamilies(const Bench& bench, const std::map<std::string, Values>& kin,
                   std::map<std::string, Lesson>& lessons) {
  std::vector<Lesson*> jobs;
  for (auto& [family, lesson] : lessons) jobs.push_back(&lesson);
  ForEach(jobs.size(), [&](size_t i) {
    const Samples teachers = TeachersWithout(bench, *jobs[i]->run);
    jobs[i]->values = FitSystem(kin.at(KinKey(*jobs[i]->run)), teachers);
    jobs[i]->scale = ScaleOf(teachers);
  });
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
  std::map<std::string, Samples> systems, kin;
  for (const Sample& sample : bench.samples) {
    if (!Calibrates(sample)) continue;
    systems[sample.run->system].push_back(&sample);
    kin[sample.run->kin].push_back(&sample);
  }
  std::map<std::string, Values> starts;
  for (const auto& [name, samples] : kin) starts[name] = Fit(samples);
  FrozenConstants frozen;
  for (const auto& [name, samples] : systems) {
    frozen.systems[name] = FitSystem(starts[samples.front()->run->kin], samples);
  }
  return frozen;
}

std::vector<RowResult> EvaluateAll(const Bench& bench, const FrozenConstants& frozen) {
  const auto rates = RatesByFamily(bench);
  std::map<std::string, Lesson> lessons;
  std::map<std::string, Values> kin;
  for (const Sample& sample : bench.samples) {
    lessons[sample.run->family].run = sample.run;
    kin[KinKey(*sample.run)];
  }
  LearnKin(bench, kin);
  LearnFamilies(bench, kin, lessons);
  std::vector<RowResult> results;
  for (const Sample& sample : bench.samples) {
    const PublishedRun& run = *sample.run;
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
