#include "data/order/mixture_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace choir {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<std::string> kLanguages = {"de", "en", "th", "xh"};
const std::vector<std::string> kSources = {"books", "web"};

// 300, 1000, 40 and no labels.
std::vector<DocumentStream> ByLanguage() {
  return {{0, kAllSources, "de", 3, 300},
          {1, kAllSources, "en", 10, 1000},
          {2, kAllSources, "th", 4, 40},
          {3, kAllSources, "xh", 0, 0}};
}

std::vector<DocumentStream> BySource() {
  return {{0, 0, "de/books", 1, 100},
          {0, 1, "de/web", 2, 200},
          {1, 1, "en/web", 10, 1000},
          {2, 0, "th/books", 4, 40},
          {3, 0, "xh/books", 0, 0}};
}

std::vector<double> SharesOf(const MixturePhase& phase) {
  const auto total =
      static_cast<double>(std::accumulate(phase.weights.begin(), phase.weights.end(), int64_t{0}));
  std::vector<double> shares;
  for (const int64_t weight : phase.weights) shares.push_back(static_cast<double>(weight) / total);
  return shares;
}

MixturePlan Plan(const MixtureConfig& config) {
  const auto streams = config.by_source ? BySource() : ByLanguage();
  const auto plan = PlanMixture(config, streams, kLanguages, kSources);
  EXPECT_EQ(plan.status(), absl::OkStatus());
  return plan.value();
}

std::string ErrorOf(const MixtureConfig& config) {
  const auto streams = config.by_source ? BySource() : ByLanguage();
  return std::string(PlanMixture(config, streams, kLanguages, kSources).status().message());
}

TEST(MixturePlan, AlphaAndTemperature) {
  for (const double alpha : {0.25, 0.5, 1.0}) {
    MixtureConfig config;
    config.alpha = alpha;
    const std::vector<double> shares = SharesOf(Plan(config).phases[0]);
    EXPECT_NEAR(shares[0] / shares[1], std::pow(0.3, alpha), 1e-5);
    EXPECT_NEAR(shares[2] / shares[1], std::pow(0.04, alpha), 1e-5);
    EXPECT_EQ(shares[3], 0);
    MixtureConfig warm;
    warm.temperature = 1 / alpha;
    EXPECT_EQ(Plan(warm), Plan(config));
  }
  MixtureConfig half;
  half.alpha = kDefaultMixtureAlpha;
  EXPECT_EQ(Plan({}), Plan(half));
}

TEST(MixturePlan, ExplicitWeights) {
  MixtureConfig config;
  config.weights = {{"de", 1}, {"th", 3}};
  EXPECT_THAT(Plan(config).phases[0].weights, ElementsAre(349525, 0, 1 << 20, 0));
  config.weights = {{"de", 1}, {"xx", 1}};
  EXPECT_THAT(ErrorOf(config), HasSubstr("data.mixture.weights.xx: the corpus has no such "
                                         "language, only de, en, th, xh"));
  config.weights = {{"xh", 1}};
  EXPECT_THAT(ErrorOf(config), HasSubstr("weights.xh: the corpus has no training documents"));
}

// Worked by hand: 600 labels, at most 4 epochs. th first: min(600 / 3, 160) = 160; then de:
// min(440 / 2, 1200) = 220; then en: min(220, 4000).
TEST(MixturePlan, UniMaxCapsTheSmallAndSharesTheRest) {
  MixtureConfig config;
  config.unimax_tokens = 600;
  config.max_epochs = 4;
  const MixturePlan plan = Plan(config);
  const std::vector<double> shares = SharesOf(plan.phases[0]);
  EXPECT_NEAR(shares[0], 220 / 600.0, 1e-6);
  EXPECT_NEAR(shares[1], 220 / 600.0, 1e-6);
  EXPECT_NEAR(shares[2], 160 / 600.0, 1e-6);
  EXPECT_EQ(shares[3], 0);
  EXPECT_THAT(plan.most_documents, ElementsAre(12, 40, 16, 0));
  config.max_epochs.reset();
  EXPECT_THAT(ErrorOf(config), HasSubstr("unimax_tokens needs data.mixture.max_epochs"));
}

TEST(MixturePlan, SourcesInsideLanguages) {
  MixtureConfig config;
  config.by_source = true;
  config.weights = {{"de", 1}, {"en", 1}};
  std::vector<double> shares = SharesOf(Plan(config).phases[0]);
  EXPECT_NEAR(shares[0], 0.5 / 3, 1e-6);
  EXPECT_NEAR(shares[1], 1.0 / 3, 1e-6);
  EXPECT_NEAR(shares[2], 0.5, 1e-6);
  config.source_weights = {{"books", 3}, {"web", 1}};
  shares = SharesOf(Plan(config).phases[0]);
  EXPECT_NEAR(shares[0], 0.375, 1e-6);
  EXPECT_NEAR(shares[1], 0.125, 1e-6);
  EXPECT_NEAR(shares[2], 0.5, 1e-6);
  EXPECT_EQ(shares[3], 0);
  config.source_weights = {{"wiki", 3}};
  EXPECT_THAT(ErrorOf(config), HasSubstr("source_weights.wiki: the corpus has no such source"));
  config.source_weights = {{"web", 3}};
  config.by_source = false;
  EXPECT_THAT(ErrorOf(config), HasSubstr("source_weights needs data.mixture.by_source"));
}

TEST(MixturePlan, PhasesComeInTheirOrder) {
  MixtureConfig config;
  config.weights = {{"en", 1}};
  config.schedule.resize(2);
  config.schedule[0].from_tokens = 100;
  config.schedule[0].alpha = 0;
  config.schedule[1].from_tokens = 900;
  config.schedule[1].weights = {{"th", 1}};
  const MixturePlan plan = Plan(config);
  ASSERT_EQ(plan.phases.size(), 3u);
  EXPECT_EQ(plan.phases[1].from_tokens, 100);
  EXPECT_THAT(SharesOf(plan.phases[1]), ElementsAre(1 / 3.0, 1 / 3.0, 1 / 3.0, 0));
  EXPECT_THAT(SharesOf(plan.phases[2]), ElementsAre(0, 0, 1, 0));
  config.schedule[1].weights = {{"zz", 1}};
  EXPECT_THAT(ErrorOf(config), HasSubstr("data.mixture.schedule[1].weights.zz"));
}

TEST(MixturePlan, ContradictionsAreNamed) {
  const auto tree = ConfigTree::ParseString(
      "alpha: 0.5\nunimax_tokens: 5\nschedule:\n- from_tokens: 9\n  temperature: 2\n  alpha: 1\n"
      "- from_tokens: 9\n",
      "m.yaml");
  const std::string message{LoadConfig<MixtureConfig>(*tree).status().message()};
  EXPECT_THAT(message, HasSubstr("unimax_tokens and alpha contradict each other"));
  EXPECT_THAT(message, HasSubstr("temperature and alpha contradict each other"));
  EXPECT_THAT(message, HasSubstr("schedule[1].from_tokens must be above that of the phase before"));
}

}  // namespace
}  // namespace choir
