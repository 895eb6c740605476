#include "data/order/mixture.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"

namespace choir {
namespace {

// Both bounds of data/order/mixture.h after every document, for many mixtures and length
// distributions.
TEST(Mixture, EveryShareStaysWithinOneDocumentAtEveryPrefix) {
  for (uint64_t trial = 0; trial < 60; ++trial) {
    const CounterRandom random(trial, "mixture_test");
    uint64_t at = 0;
    const size_t n = 1 + random.Below(at++, 40);
    std::vector<int64_t> weights;
    for (size_t l = 0; l < n; ++l) {
      weights.push_back(1 + static_cast<int64_t>(std::exp(13 * random.Uniform(at++))));
    }
    const Mixture mixture(weights);
    const int64_t longest = trial % 3 == 0 ? 1 : 1000;
    const auto draw = [&] {  // skewed: many short documents, few long ones
      return 1 + static_cast<int64_t>(static_cast<double>(longest - 1) *
                                      std::pow(random.Uniform(at++), 4));
    };
    std::vector<int64_t> next(n), drawn(n, 0), longest_of(n, 0);
    for (int64_t& length : next) length = draw();
    double tokens = 0, longest_seen = 0;
    for (int step = 0; step < 4000; ++step) {
      const int32_t l = mixture.Choose(drawn, [&](int32_t l) { return next[l]; });
      drawn[l] += next[l];
      tokens += static_cast<double>(next[l]);
      longest_of[l] = std::max(longest_of[l], next[l]);
      longest_seen = std::max(longest_seen, static_cast<double>(next[l]));
      next[l] = draw();
      for (size_t i = 0; i < n; ++i) {
        const double share =
            static_cast<double>(weights[i]) / static_cast<double>(mixture.total_weight());
        const double ahead = static_cast<double>(drawn[i]) - share * tokens;
        ASSERT_LE(ahead, static_cast<double>(longest_of[i]) + 1e-6) << trial << " " << step;
        ASSERT_GE(ahead, -static_cast<double>(longest) - 1e-6) << trial << " " << step;
      }
    }
  }
}

TEST(Mixture, LanguagesWithoutWeightAreNeverAskedFor) {
  const Mixture mixture({3, 0, 1});
  std::vector<int64_t> drawn = {0, 0, 0};
  for (int step = 0; step < 100; ++step) {
    drawn[mixture.Choose(drawn, [](int32_t l) {
      EXPECT_NE(l, 1);
      return int64_t{1};
    })] += 1;
  }
  EXPECT_EQ(drawn, (std::vector<int64_t>{75, 0, 25}));
}

// After a change of shares: the counts since then, and what each stream was ahead before.
TEST(Mixture, LeadKeepsThePromiseAcrossAChange) {
  const CounterRandom random(3, "mixture_test");
  uint64_t at = 0;
  const std::vector<std::vector<int64_t>> shares = {{5, 1, 0, 3}, {1, 1, 7, 1}, {0, 2, 2, 9}};
  constexpr int64_t kLongest = 300;
  std::vector<int64_t> drawn(4, 0);
  std::vector<double> given(4, 0), due(4, 0);
  for (const std::vector<int64_t>& weights : shares) {
    const Mixture mixture(weights);
    for (int step = 0; step < 2000; ++step) {
      std::vector<int64_t> next(4);
      for (int64_t& n : next) n = 1 + static_cast<int64_t>(random.Below(at++, kLongest));
      const int32_t s = mixture.Choose(drawn, [&](int32_t s) { return next[s]; });
      drawn[s] += next[s];
      given[s] += static_cast<double>(next[s]);
      for (size_t i = 0; i < 4; ++i) {
        due[i] +=
            static_cast<double>(next[s] * weights[i]) / static_cast<double>(mixture.total_weight());
        // What was due of a stream that is left out from here on is given up.
        if (weights[i] > 0) {
          ASSERT_LE(std::abs(given[i] - due[i]), 2 * kLongest);
        }
      }
    }
    drawn = mixture.Lead(drawn);
    for (size_t i = 0; i < 4; ++i) {
      if (weights[i] == 0) {
        EXPECT_EQ(drawn[i], 0);
      }
      EXPECT_LE(std::abs(drawn[i]), kLongest + 1);
    }
  }
}

}  // namespace
}  // namespace choir
