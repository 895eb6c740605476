#include "bench/planner/fit.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>

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
    {"attention.efficiency", 0.75, 0.3, 0.1, 1},
    {"attention.width_half", 64, 0.5, 1, 500},
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

using Vector = std::vector<double>;

Values ValuesAt(const Belief& belief, const Vector& deviations) {
  Values values;
  for (size_t i = 0; i < kCount; ++i) {
    const Constant& c = kConstants[i];
    const double moved = belief.centre[i] * std::exp(c.spread * belief.width * deviations[i]);
    values.push_back(std::clamp(moved, c.low, c.high));
  }
  return values;
}

double Seconds(const Sample& sample, const StepWorkload& step, const Values& values) {
  Hardware hardware = WithConstants(*sample.datasheet, values);
  const PublishedMethod& method = sample.run->method;
  if (method.graphs || method.full_graph) hardware.host.issue_seconds = 0;
  if (method.full_graph) hardware.host.sync_seconds = 0;
  if (method.layer_only) hardware.host.step_seconds = 0;
  const auto time = PredictStep(step, hardware);
  CHECK(time.ok()) << sample.run->id << ": " << time.status().ToString();
  return time->seconds;
}

// Quadratic near zero, linear far out: one strange row moves nothing much.
double Loss(double residual) { return 2 * (std::sqrt(1 + residual * residual) - 1); }

// The runs of one fit.
struct Lesson {
  const std::vector<const Sample*>& samples;
  const Belief& belief;
  Vector weights;  // of the samples; those of one layout add up to 1

  Lesson(const std::vector<const Sample*>& runs, const Belief& before)
      : samples(runs), belief(before) {
    std::map<std::string, int> rows;
    for (const Sample* sample : samples) ++rows[LayoutKey(*sample->run)];
    for (const Sample* sample : samples) weights.push_back(1.0 / rows[LayoutKey(*sample->run)]);
  }
};

// Logarithm of predicted over measured, in units of kResidual.
Vector Residuals(const Lesson& lesson, const Vector& deviations) {
  const Values values = ValuesAt(lesson.belief, deviations);
  Vector residuals;
  for (const Sample* sample : lesson.samples) {
    const double ratio = PredictSeconds(*sample, values) / sample->run->seconds;
    residuals.push_back(std::log(ratio) / kResidual);
  }
  return residuals;
}

double Cost(const Lesson& lesson, const Vector& residuals, const Vector& deviations) {
  double cost = 0;
  for (const double d : deviations) cost += d * d;
  for (size_t i = 0; i < residuals.size(); ++i) cost += lesson.weights[i] * Loss(residuals[i]);
  return cost;
}

// Solves the symmetric positive system a x = b in place: Gaussian elimination needs no pivots.
Vector Solve(std::vector<Vector> a, Vector b) {
  const size_t n = b.size();
  for (size_t i = 0; i < n; ++i) {
    for (size_t row = i + 1; row < n; ++row) {
      const double factor = a[row][i] / a[i][i];
      for (size_t k = i; k < n; ++k) a[row][k] -= factor * a[i][k];
      b[row] -= factor * b[i];
    }
  }
  for (size_t i = n; i-- > 0;) {
    for (size_t k = i + 1; k < n; ++k) b[i] -= a[i][k] * b[k];
    b[i] /= a[i][i];
  }
  return b;
}

// A step of Levenberg and Marquardt at `at`: slopes by differences, rows weighted by the loss.
struct Slopes {
  std::vector<Vector> square;  // J^T W J + 1, the beliefs' part
  Vector gradient;
};
Slopes SlopesAt(const Lesson& lesson, const Vector& at, const Vector& residuals) {
  constexpr double kDelta = 0.02;
  std::vector<Vector> columns;
  for (size_t i = 0; i < at.size(); ++i) {
    Vector moved = at;
    moved[i] += kDelta;
    Vector column = Residuals(lesson, moved);
    for (size_t r = 0; r < column.size(); ++r) column[r] = (column[r] - residuals[r]) / kDelta;
    columns.push_back(std::move(column));
  }
  Slopes slopes;
  for (size_t i = 0; i < at.size(); ++i) {
    slopes.gradient.push_back(at[i]);
    slopes.square.emplace_back(at.size(), 0);
    slopes.square[i][i] = 1;
    for (size_t r = 0; r < residuals.size(); ++r) {
      const double weight = lesson.weights[r] / std::sqrt(1 + residuals[r] * residuals[r]);
      slopes.gradient[i] += weight * columns[i][r] * residuals[r];
      for (size_t k = 0; k < at.size(); ++k) {
        slopes.square[i][k] += weight * columns[i][r] * columns[k][r];
      }
    }
  }
  return slopes;
}

}  // namespace

std::span<const Constant> Constants() { return kConstants; }

Values UsualValues() {
  Values values;
  for (const Constant& constant : kConstants) values.push_back(constant.usual);
  return values;
}

Hardware WithConstants(Hardware hardware, const Values& values) {
  CHECK(values.size() == kCount);
  ProductRates& products = hardware.products;
  for (ProductRate* rate : {&products.full, &products.bf16, &products.f16}) {
    rate->efficiency = values[0];
  }
  for (ProductRate* rate : {&products.fp8_block, &products.mxfp8}) rate->efficiency = values[1];
  hardware.shape.k_half = values[2];
  hardware.attention.efficiency = values[3];
  hardware.attention.width_half = values[4];
  hardware.grouped_efficiency = values[5];
  hardware.memory.efficiency = values[6];
  hardware.host.issue_seconds = values[7];
  hardware.host.kernel_seconds = values[8];
  hardware.host.sync_seconds = values[9];
  hardware.host.pass_seconds = values[10];
  hardware.host.step_seconds = values[11];
  hardware.links.intra_node.efficiency = values[12];
  hardware.links.inter_node.efficiency = values[13];
  hardware.overlap.hideable = values[14];
  hardware.overlap.compute_loss = values[15];
  return hardware;
}

Sample MakeSample(const PublishedRun& run, const Hardware& datasheet) {
  Sample sample{&run, &datasheet, BuildStep(run, datasheet.links.ranks_per_node)};
  sample.few = sample.more = sample.step;
  ScheduleSpec &few = sample.few.schedule, &more = sample.more.schedule;
  few.microbatches = 2 * few.ranks + few.microbatches % few.ranks;
  more.microbatches = few.microbatches + few.ranks;
  return sample;
}

double PredictSecondsInFull(const Sample& sample, const Values& values) {
  return Seconds(sample, sample.step, values);
}

double PredictSeconds(const Sample& sample, const Values& values) {
  const ScheduleSpec &spec = sample.step.schedule, &more = sample.more.schedule;
  if (spec.microbatches <= more.microbatches) return Seconds(sample, sample.step, values);
  const double first = Seconds(sample, sample.few, values);
  const double second = Seconds(sample, sample.more, values);
  return second + (second - first) / spec.ranks * (spec.microbatches - more.microbatches);
}

Values Fit(const std::vector<const Sample*>& samples, const Belief& belief) {
  const Lesson lesson(samples, belief);
  Vector best(kCount, 0);
  if (samples.empty()) return belief.centre;
  Vector residuals = Residuals(lesson, best);
  double least = Cost(lesson, residuals, best), damping = 1;
  for (int iteration = 0; iteration < 20 && damping < 1e4; ++iteration) {
    const Slopes slopes = SlopesAt(lesson, best, residuals);
    const double before = least;
    for (; damping < 1e4; damping *= 4) {
      std::vector<Vector> square = slopes.square;
      for (size_t i = 0; i < kCount; ++i) square[i][i] *= 1 + damping;
      const Vector step = Solve(square, slopes.gradient);
      Vector trial = best;
      for (size_t i = 0; i < kCount; ++i) trial[i] = std::clamp(trial[i] - step[i], -5.0, 5.0);
      Vector trial_residuals = Residuals(lesson, trial);
      const double cost = Cost(lesson, trial_residuals, trial);
      if (cost >= least) continue;
      least = cost;
      best = std::move(trial);
      residuals = std::move(trial_residuals);
      damping /= 8;
      break;
    }
    if (before - least < 1e-3 * before) break;
  }
  return ValuesAt(belief, best);
}

}  // namespace choir::planner
