// The multiple-choice knapsack: one item of every kind, the least cost within a capacity.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace choir {

struct KnapsackItem {
  int64_t weight = 0;  // may be negative
  double cost = 0;
};

// The index of the item to take of each kind so that weights add up to at most `capacity` >= 0. The
// first item of each kind weighs and costs nothing, so taking these is always possible. Sums over
// the first kinds stay within [-reach, capacity + reach]; weights are rounded to the nearest of
// kKnapsackSteps steps of this range, so the sum may be too large by half a step for each item
// taken that is not the first: callers look. By dynamic programming.
inline constexpr int kKnapsackSteps = 1 << 14;
std::vector<size_t> SolveKnapsack(const std::vector<std::vector<KnapsackItem>>& kinds,
                                  int64_t capacity, int64_t reach);

}  // namespace choir
