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

// The index of the item to take of each kind; empty if no choice fits. Weights are rounded to the
// nearest of kKnapsackSteps steps of the capacity, so the sum may be too large by
// kinds / (2 kKnapsackSteps) of it: callers look. By dynamic programming.
inline constexpr int kKnapsackSteps = 8192;
std::vector<size_t> SolveKnapsack(const std::vector<std::vector<KnapsackItem>>& kinds,
                                  int64_t capacity);

}  // namespace choir
