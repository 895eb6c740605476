#include "plan/knapsack.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/random.h"

namespace choir {
namespace {

TEST(KnapsackTest, IsTheBestOfAll) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const CounterRandom random(seed, "test/knapsack");
    uint64_t n = 0;
    std::vector<std::vector<KnapsackItem>> kinds(5);
    for (auto& items : kinds) {
      items.push_back({});
      for (int i = 0; i < 4; ++i) {
        const auto weight = static_cast<int64_t>(random.Below(n++, 40)) - 20;
        items.push_back({weight, random.Uniform(n++) - 0.5});
      }
    }
    const auto capacity = static_cast<int64_t>(random.Below(n++, 15));
    double least = 0;
    for (int code = 0; code < 3125; ++code) {
      int64_t weight = 0;
      double cost = 0;
      for (int k = 0, rest = code; k < 5; ++k, rest /= 5) {
        const KnapsackItem& item = kinds[static_cast<size_t>(k)][static_cast<size_t>(rest % 5)];
        weight += item.weight;
        cost += item.cost;
      }
      if (weight <= capacity) least = std::min(least, cost);
    }
    double cost = 0;
    int64_t weight = 0;
    const std::vector<size_t> taken = SolveKnapsack(kinds, capacity, 100);
    for (size_t k = 0; k < kinds.size(); ++k) {
      cost += kinds[k][taken[k]].cost;
      weight += kinds[k][taken[k]].weight;
    }
    EXPECT_LE(weight, capacity) << seed;
    EXPECT_NEAR(cost, least, 1e-12) << seed;
  }
}

}  // namespace
}  // namespace choir
