#include "plan/knapsack.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace choir {

std::vector<size_t> SolveKnapsack(const std::vector<std::vector<KnapsackItem>>& kinds,
                                  int64_t capacity) {
  constexpr double kNone = std::numeric_limits<double>::infinity();
  std::vector<int64_t> least;
  for (const auto& items : kinds) {
    least.push_back(std::min_element(items.begin(), items.end(),
                                     [](const KnapsackItem& a, const KnapsackItem& b) {
                                       return a.weight < b.weight;
                                     })
                        ->weight);
    capacity -= least.back();
  }
  if (capacity < 0) return {};
  const double step = std::max(1.0, static_cast<double>(capacity) / kKnapsackSteps);
  constexpr size_t kSizes = kKnapsackSteps + 1;
  std::vector<double> cost(kSizes, 0), next(kSizes);  // at most this weight
  std::vector<std::vector<uint16_t>> taken;
  for (size_t k = 0; k < kinds.size(); ++k) {
    std::fill(next.begin(), next.end(), kNone);
    std::vector<uint16_t>& take = taken.emplace_back(kSizes, 0);
    for (size_t i = 0; i < kinds[k].size(); ++i) {
      const auto weight = static_cast<size_t>(
          std::llround(static_cast<double>(kinds[k][i].weight - least[k]) / step));
      for (size_t size = weight; size < kSizes; ++size) {
        const double sum = cost[size - weight] + kinds[k][i].cost;
        if (sum < next[size]) {
          next[size] = sum;
          take[size] = static_cast<uint16_t>(i);
        }
      }
    }
    std::swap(cost, next);
  }
  std::vector<size_t> choice(kinds.size());
  size_t size = std::min(kSizes - 1, static_cast<size_t>(static_cast<double>(capacity) / step));
  for (size_t k = kinds.size(); k-- > 0;) {
    choice[k] = taken[k][size];
    size -= static_cast<size_t>(
        std::llround(static_cast<double>(kinds[k][choice[k]].weight - least[k]) / step));
  }
  return choice;
}

}  // namespace choir
