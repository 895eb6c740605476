#include "bench/planner/fit.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "bench/planner/published_model.h"
#include "plan/step_time.h"

namespace choir::planner {
namespace {

constexpr double kResidual = 0.04;  // of the logarithm of seconds

constexpr Constant kConstants[] = {
    {"products.bf16.efficiency", 0.75, 0.15, 0.2, 1},
    {"products.fp8.efficiency", 0.6, 0.25, 0.15, 1},
    {"shape.k_half", 128, 0.7, 1, 2000},
    {"attention.efficiency", 0.5, 0.3, 0.1, 0.9},
    {"grouped_efficiency", 0.8, 0.2, 0.3, 1},
    {"memory.efficiency", 0.75, 0.2, 0.3, 1},
    {"host.issue_seconds", 1e-5, 1, 5e-7, 4e-4},
    {"host.kernel_seconds", 1.5e-6, 0.5, 2e-7, 2e-5},
    {"host.sync_seconds", 1e-4, 1, 1e-6, 1e-2},
    {"host.pass_seconds", 2e-4, 1, 1e-6, 2e-2},
    {"host.step_seconds", 1e-2, 1, 1e-4, 1},
    {"links.intra_node.efficiency", 0.8, 0.2, 0.2, 1},
    {"links.inter_node.efficiency", 0.8, 0.3, 0.1, 1},
    {"overlap.hideable", 0.8, 0.2, 0.1, 1},
    {"overlap.compute_loss", 0.15, 0.5, 0.01, 1},
};
constexpr size_t kCount = std::size(kConstants);

Values ValuesAt(const std::vector<double>& deviations) {
  Values values;
  for (size_t i = 0; i < kCount; ++i) {
    const Constant& c = kConstants[i];
    values.push_back(std::clamp(c.usual * std::exp(c.spread * deviations[i]), c.low, c.high));
  }
  return values;
}

double Seconds(const Sample& sample, const StepWorkload& step, const Values& values) {
  Hardware hardware = WithConstants(*sample.datasheet, values);
  if (sample.run->method.graphs) hardware.host.issue_seconds = 0;
  if (sample.run->method.layer_only) hardware.host.step_seconds = 0;
  const auto time = PredictStep(step, hardware);
  CHECK(time.ok()) << sample.run->id << ": " << time.status().ToString();
  return time->seconds;
}

// Quadratic near zero, linear far out: one strange row moves nothing much.
double Loss(double residual) { return 2 * (std::sqrt(1 + residual * residual) - 1); }

double Cost(const std::vector<const Sample*>& samples, const std::vector<double>& deviations) {
  const Values values = ValuesAt(deviations);
  double cost = 0;
  for (const double d : deviations) cost += d * d;
  for (const Sample* sample : samples) {
    const double ratio = PredictSeconds(*sample, values) / sample->run->seconds;
    cost += Loss(std::log(ratio) / kResidual);
  }
  return cost;
}

}  // namespace

std::span<const Constant> Constants() { return kConstants; }

Values UsualValues() { return ValuesAt(std::vector<double>(kCount, 0)); }

Hardware WithConstants(Hardware hardware, const Values& values) {
  CHECK(values.size() == kCount);
  ProductRates& products = hardware.products;
  for (ProductRate* rate : {&products.full, &products.bf16, &products.f16}) {
    rate->efficiency = values[0];
  }
  for (ProductRate* rate : {&products.fp8_block, &products.mxfp8}) rate->efficiency = values[1];
  hardware.shape.k_half = values[2];
  hardware.attention.efficiency = values[3];
  hardware.grouped_efficiency = values[4];
  hardware.memory.efficiency = values[5];
  hardware.host.issue_seconds = values[6];
  hardware.host.kernel_seconds = values[7];
  hardware.host.sync_seconds = values[8];
  hardware.host.pass_seconds = values[9];
  hardware.host.step_seconds = values[10];
  hardware.links.intra_node.efficiency = values[11];
  hardware.links.inter_node.efficiency = values[12];
  hardware.overlap.hideable = values[13];
  hardware.overlap.compute_loss = values[14];
  return hardware;
}

Sample MakeSample(const PublishedRun& run, const Hardware& datasheet) {
  return {&run, &datasheet, BuildStep(run, datasheet.links.ranks_per_node)};
}

double PredictSecondsInFull(const Sample& sample, const Values& values) {
  return Seconds(sample, sample.step, values);
}

double PredictSeconds(const Sample& sample, const Values& values) {
  const ScheduleSpec& spec = sample.step.schedule;
  const int few = 2 * spec.ranks + spec.microbatches % spec.ranks, more = few + spec.ranks;
  if (spec.microbatches <= more) return Seconds(sample, sample.step, values);
  StepWorkload step = sample.step;
  step.schedule.microbatches = few;
  const double first = Seconds(sample, step, values);
  step.schedule.microbatches = more;
  const double second = Seconds(sample, step, values);
  return second + (second - first) / spec.ranks * (spec.microbatches - more);
}

Values Fit(const std::vector<const Sample*>& samples) {
  std::vector<double> best(kCount, 0);
  if (samples.empty()) return ValuesAt(best);
  double least = Cost(samples, best);
  for (double step = 1; step > 0.05;) {
    const double before = least;
    for (size_t i = 0; i < kCount; ++i) {
      for (const double sign : {1.0, -1.0}) {
        std::vector<double> trial = best;
        trial[i] += sign * step;
        const double cost = Cost(samples, trial);
        if (cost >= least) continue;
        least = cost;
        best = trial;
        break;
      }
    }
    if (before - least < 1e-3 * before) step /= 2;
  }
  return ValuesAt(best);
}

}  // namespace choir::planner
