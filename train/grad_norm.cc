#include "train/grad_norm.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/exact_sum.h"
#include "base/fault.h"
#include "ops/elementwise.h"
#include "optim/settings.h"
#include "parallel/sum_numbers.h"

namespace choir {
namespace {

// Which sum a gradient belongs to: its group's, or the last.
size_t SumOf(const Shard& shard, const OptimConfig& config) {
  // Which group it is, is a matter of the name.
  const auto form = ParameterForm::kVector;
  const auto group = SettingsOf(config, shard.parameter->name, form).clip_group;
  return group.value_or(config.groups.size());
}

// Element by element over the ranks.
std::vector<double> SumOverRanks(const Place& place, std::vector<double> values, Device device) {
  AxisSet ranks = kDenseAxes;
  if (place.Size(Axis::kPipe) > 1 && Injected(Fault::kNormMissesStages)) {
    ranks = ranks - Axis::kPipe;
  }
  return SumNumbers(place, ranks, std::move(values), device);
}

bool HasLimitOfGroup(const OptimConfig& config) {
  return std::any_of(config.groups.begin(), config.groups.end(),
                     [](const ParameterGroupConfig& group) { return group.clip_norm.has_value(); });
}

GradNorms FromSums(const std::vector<double>& sums) {
  GradNorms norms;
  for (size_t i = 0; i + 1 < sums.size(); ++i) norms.group.push_back(std::sqrt(sums[i]));
  norms.rest = std::sqrt(sums.back());
  norms.total = std::sqrt(std::accumulate(sums.begin(), sums.end(), 0.0));
  return norms;
}

GradNorms ExactNorms(const Place& place, std::vector<ExactSum> sums, Device device) {
  std::vector<double> digits;
  for (const ExactSum& sum : sums) {
    const std::vector<double> of_sum = sum.ToDigits();
    digits.insert(digits.end(), of_sum.begin(), of_sum.end());
  }
  digits = SumOverRanks(place, std::move(digits), device);
  std::vector<double> values;
  ExactSum total;
  for (size_t i = 0; i < sums.size(); ++i) {
    const ExactSum sum = ExactSum::FromDigits(
        std::span(digits).subspan(i * ExactSum::kDigitCount, ExactSum::kDigitCount));
    total.Merge(sum);
    values.push_back(sum.Value());
  }
  GradNorms norms = FromSums(values);
  norms.total = std::sqrt(total.Value());  // rounded once
  return norms;
}

}  // namespace

void GradNorms::Scale(double factor) {
  total *= factor;
  rest *= factor;
  for (double& norm : group) norm *= factor;
}

GradNorms ComputeGradNorms(const Place& place, std::span<const Shard> shards, const Parameter* tied,
                           const OptimConfig& config) {
  const size_t count = config.groups.size() + 1;
  std::vector<ExactSum> exact(place.invariant() ? count : 0);
  std::vector<double> sums(count);
  for (const Shard& shard : shards) {
    if (!shard.counts || shard.parameter == tied) continue;
    const size_t i = SumOf(shard, config);
    if (place.invariant()) {
      exact[i].Merge(ExactSumOfSquares(shard.grad));
    } else {
      sums[i] += SumOfSquares(shard.grad);
    }
  }
  const bool of_rank =
      place.mesh().size() > 1 && HasLimitOfGroup(config) && Injected(Fault::kGroupNormOfRank);
  for (size_t i = 0; of_rank && i < exact.size(); ++i) sums[i] = exact[i].Value();
  const std::vector<double> mine = sums;
  const Device device = shards.empty() ? Device::kCpu : shards.front().grad.device();
  GradNorms norms = place.invariant() ? ExactNorms(place, std::move(exact), device)
                                      : FromSums(SumOverRanks(place, std::move(sums), device));
  for (size_t i = 0; of_rank && i < norms.group.size(); ++i) norms.group[i] = std::sqrt(mine[i]);
  return norms;
}

}  // namespace choir
