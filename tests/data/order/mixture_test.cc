#include "data/order/mixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "tests/data/test_corpus.h"

namespace choir {
namespace {

using ::testing::HasSubstr;

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

TEST(Mixture, AlphaGivesThePowerOfTheTrainingTokens) {
  const auto corpus = TokenCorpus::Open(testing_data::FixtureFolder() + "/shards").value();
  const auto languages = static_cast<int32_t>(corpus->languages().size());
  for (const double alpha : {0.0, 0.3, 0.5, 1.0}) {
    MixtureConfig config;
    config.alpha = alpha;
    const std::vector<int64_t> weights = MixtureWeights(config, *corpus).value();
    for (int32_t a = 0; a < languages; ++a) {
      const double ratio = std::pow(static_cast<double>(corpus->NumLabels(Split::kTrain, a)) /
                                        static_cast<double>(corpus->NumLabels(Split::kTrain, 0)),
                                    alpha);
      EXPECT_NEAR(static_cast<double>(weights[a]) / static_cast<double>(weights[0]), ratio, 1e-5);
    }
  }
  MixtureConfig half;
  half.alpha = kDefaultMixtureAlpha;
  EXPECT_EQ(MixtureWeights({}, *corpus).value(), MixtureWeights(half, *corpus).value());
}

TEST(Mixture, ExplicitWeights) {
  const auto corpus = TokenCorpus::Open(testing_data::FixtureFolder() + "/shards").value();
  MixtureConfig config;
  config.weights = {{"de", 1.0}, {"th", 3.0}};
  const std::vector<int64_t> weights = MixtureWeights(config, *corpus).value();
  for (size_t l = 0; l < weights.size(); ++l) {
    const std::string& name = corpus->languages()[l];
    EXPECT_EQ(weights[l] > 0, name == "de" || name == "th");
    if (name == "de") {
      EXPECT_NEAR(static_cast<double>(weights[l]) * 3, 1 << 20, 2);
    } else if (name == "th") {
      EXPECT_EQ(weights[l], 1 << 20);
    }
  }
  config.weights = {{"de", 1.0}, {"xx", 1.0}};
  const absl::Status status = MixtureWeights(config, *corpus).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("data.mixture.weights.xx: "));
  EXPECT_THAT(std::string(status.message()), HasSubstr("only ar, bg"));
}

}  // namespace
}  // namespace choir
