// Choosing the best experts of one token.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <limits>

#include "ops/simd.h"

namespace choir {

inline constexpr int kMaxExperts = 2048;
inline constexpr int kMaxGroups = 64;
inline constexpr int kMaxBestOfGroup = 64;

// Node-limited routing (router.h); `best_of_group` scores make up a group's own.
struct GroupLimit {
  int groups = 1, limit = 1, best_of_group = 1;
};

// The scores of one token, from which experts are drawn best first, equal ones by ascending index.
// Lives on the stack of the kernel.
template <class T>
class Candidates {
 public:
  // s + bias (unless null). NaN counts as the lowest value (-infinity too), so that a broken row
  // still gives a valid choice.
  Candidates(const T* s, const T* bias, int experts) : experts_(experts) {
    T* value = value_.data();
    const Vec<T> lowest = Splat(std::numeric_limits<T>::lowest());
    ForEachVec<T>(experts, [&](int64_t, auto load, auto store) {
      Vec<T> v = load(s);
      if (bias != nullptr) v += load(bias);
      store(value, v >= lowest ? v : lowest);
    });
    std::fill_n(value + experts, Blocks() * kLanes - experts, kGone);
  }

  void KeepBestGroups(const GroupLimit& group) {
    const int size = experts_ / group.groups;
    std::array<double, kMaxGroups> score;
    for (int g = 0; g < group.groups; ++g) {
      score[Index(g)] = SumOfBest(value_.data() + g * size, size, group.best_of_group);
    }
    std::array<bool, kMaxGroups> kept{};
    for (int i = 0; i < group.limit; ++i) {
      int best = -1;
      for (int g = 0; g < group.groups; ++g) {
        if (!kept[Index(g)] && (best < 0 || score[Index(g)] > score[Index(best)])) best = g;
      }
      kept[Index(best)] = true;
    }
    for (int g = 0; g < group.groups; ++g) {
      if (!kept[Index(g)]) std::fill_n(value_.data() + g * size, size, kGone);
    }
  }

  // Draws the best k, at most as many as there are, into chosen[0, k).
  void Draw(int k, int32_t* chosen) {
    std::array<T, kMaxExperts / kLanes> high;  // of each block of kLanes values
    for (int b = 0; b < Blocks(); ++b) high[Index(b)] = MaxLanes<T>(Load(Block(b)));
    for (int i = 0; i < k; ++i) {
      const T* best = std::max_element(high.data(), high.data() + Blocks());  // the first of equals
      const int b = static_cast<int>(best - high.data());
      T* value = std::find(Block(b), Block(b) + kLanes, *best);
      chosen[i] = static_cast<int32_t>(value - value_.data());
      *value = kGone;
      high[Index(b)] = MaxLanes<T>(Load(Block(b)));
    }
  }

 private:
  static constexpr T kGone = -std::numeric_limits<T>::infinity();

  static size_t Index(int i) { return static_cast<size_t>(i); }
  int Blocks() const { return (experts_ + kLanes - 1) / kLanes; }
  T* Block(int b) { return value_.data() + b * kLanes; }

  static double SumOfBest(const T* value, int n, int k) {
    std::array<T, kMaxBestOfGroup> best;
    std::partial_sort_copy(value, value + n, best.begin(), best.begin() + k, std::greater<T>());
    double sum = 0;
    for (int i = 0; i < k; ++i) sum += static_cast<double>(best[Index(i)]);
    return sum;
  }

  int experts_;
  std::array<T, kMaxExperts> value_;
};

}  // namespace choir
