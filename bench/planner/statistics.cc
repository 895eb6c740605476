#include "bench/planner/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace choir::planner {
namespace {

std::vector<double> Ranks(const std::vector<double>& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    for (size_t i = begin; i < end; ++i) {
      ranks[order[i]] = static_cast<double>(begin + end - 1) / 2;
    }
    begin = end;
  }
  return ranks;
}

}  // namespace

ErrorSummary Summarize(const std::vector<double>& errors) {
  ErrorSummary summary;
  for (const double e : errors) {
    ++summary.count;
    summary.mean += std::abs(e);
    summary.max = std::max(summary.max, std::abs(e));
    summary.bias += e;
  }
  if (summary.count > 0) summary.mean /= summary.count, summary.bias /= summary.count;
  return summary;
}

double RankCorrelation(const std::vector<double>& a, const std::vector<double>& b) {
  CHECK(a.size() == b.size());
  const std::vector<double> x = Ranks(a), y = Ranks(b);
  const double n = static_cast<double>(x.size()), mean = (n - 1) / 2;
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
  }
  if (xx == 0 || yy == 0) return xx == yy ? 1 : 0;
  return xy / std::sqrt(xx * yy);
}

double Median(std::vector<double> values) {
  CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace choir::planner
