#include "plan/knapsack.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace choir {

std::vector<size_t> SolveKnapsack(const std::vector<std::vector<KnapsackItem>>& kinds,
                                  int64_t capacity, int64_t reach) {
  CHECK(capacity >= 0 && reach >= 0);
  const double step =
      std::max(1.0, static_cast<double>(capacity + 2 * reach) / (kKnapsackSteps - 2));
  auto steps = [&](int64_t weight) { return std::llround(static_cast<double>(weight) / step); };
  const int64_t zero = steps(reach);  // index of the sum 0
  const int64_t sizes = zero + steps(capacity + reach) + 1;
  std::vector<double> cost(static_cast<size_t>(sizes), std::numeric_limits<double>::infinity());
  cost[static_cast<size_t>(zero)] = 0;
  std::vector<std::vector<uint16_t>> taken;
  for (const std::vector<KnapsackItem>& items : kinds) {
    CHECK(items.front().weight == 0 && items.front().cost == 0);
    std::vector<double> next = cost;
    std::vector<uint16_t>& take = taken.emplace_back(static_cast<size_t>(sizes), uint16_t{0});
    for (size_t i = 1; i < items.size(); ++i) {
      const int64_t weight = steps(items[i].weight);
      const int64_t last = std::min(sizes, sizes - weight);
      for (int64_t from = std::max<int64_t>(0, -weight); from < last; ++from) {
        const int64_t to = from + weight;
        const double sum = cost[static_cast<size_t>(from)] + items[i].cost;
        if (sum >= next[static_cast<size_t>(to)]) continue;
        next[static_cast<size_t>(to)] = sum;
        take[static_cast<size_t>(to)] = static_cast<uint16_t>(i);
      }
    }
    cost = std::move(next);
  }
  const auto end = cost.begin() + zero + steps(capacity) + 1;
  int64_t at = std::min_element(cost.begin(), end) - cost.begin();
  std::vector<size_t> choice(kinds.size());
  for (size_t k = kinds.size(); k-- > 0;) {
    choice[k] = taken[k][static_cast<size_t>(at)];
    at -= steps(kinds[k][choice[k]].weight);
  }
  return choice;
}

}  // namespace choir
