#include "optim/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace choir {
namespace {

TEST(Schedule, WarmupRisesLinearlyToOne) {
  ScheduleConfig c{.kind = ScheduleKind::kConstant, .warmup_steps = 4};
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, 0, 100), 0.25);
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, 3, 100), 1);
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, 99, 100), 1);
}

TEST(Schedule, CosineEndsAtTheFinalRatio) {
  ScheduleConfig c{.kind = ScheduleKind::kCosine, .warmup_steps = 10, .final_ratio = 0.1};
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, 10, 111), 1);
  EXPECT_NEAR(ScheduleFactor(c, 60, 111), 0.1 + 0.9 * (1 + std::cos(std::numbers::pi / 2)) / 2,
              1e-12);
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, 110, 111), 0.1);
  for (int64_t s = 11; s < 111; ++s) {
    EXPECT_LT(ScheduleFactor(c, s, 111), ScheduleFactor(c, s - 1, 111));
  }
}

TEST(Schedule, LinearAndWsd) {
  ScheduleConfig c{.kind = ScheduleKind::kLinear, .final_ratio = 0};
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, 50, 101), 0.5);
  c.kind = ScheduleKind::kWsd;
  c.decay_fraction = 0.2;
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, 79, 100), 1);
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, 89, 100), 0.5);
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, 99, 100), 0);
}

TEST(Schedule, StepsAtShares) {
  ScheduleConfig c{.kind = ScheduleKind::kStep};
  c.milestones = {0.8, 0.9};
  c.factors = {0.316, 0.1};
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, 79, 100), 1);
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, 80, 100), 0.316);
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, 95, 100), 0.1);
}

TEST(Schedule, ContradictionsAreReported) {
  auto tree =
      ConfigTree::ParseString("kind: step\nmilestones: [0.9, 0.8]\nfactors: [1]\n", "s.yaml");
  ASSERT_TRUE(tree.ok());
  const auto loaded = LoadConfig<ScheduleConfig>(*tree);
  ASSERT_FALSE(loaded.ok());
  const std::string message(loaded.status().message());
  EXPECT_NE(message.find("must be as many as factors"), std::string::npos) << message;
  EXPECT_NE(message.find("must rise"), std::string::npos) << message;
}

}  // namespace
}  // namespace choir
