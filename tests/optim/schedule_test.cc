#include "optim/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "base/config_fields.h"

namespace choir {
namespace {

TEST(Schedule, WarmupRisesLinearlyToOne) {
  ScheduleConfig c{.kind = ScheduleKind::kConstant, .warmup_steps = 4};
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, AtStep(0, 100)), 0.25);
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, AtStep(3, 100)), 1);
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, AtStep(99, 100)), 1);
}

TEST(Schedule, CosineEndsAtTheFinalRatio) {
  ScheduleConfig c{.kind = ScheduleKind::kCosine, .warmup_steps = 10, .final_ratio = 0.1};
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, AtStep(10, 111)), 1);
  EXPECT_NEAR(ScheduleFactor(c, AtStep(60, 111)),
              0.1 + 0.9 * (1 + std::cos(std::numbers::pi / 2)) / 2, 1e-12);
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, AtStep(110, 111)), 0.1);
  for (int64_t s = 11; s < 111; ++s) {
    EXPECT_LT(ScheduleFactor(c, AtStep(s, 111)), ScheduleFactor(c, AtStep(s - 1, 111)));
  }
}

TEST(Schedule, LinearAndWsd) {
  ScheduleConfig c{.kind = ScheduleKind::kLinear, .final_ratio = 0};
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, AtStep(50, 101)), 0.5);
  c.kind = ScheduleKind::kWsd;
  c.decay_fraction = 0.2;
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, AtStep(79, 100)), 1);
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, AtStep(89, 100)), 0.5);
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, AtStep(99, 100)), 0);
}

TEST(Schedule, StepsAtShares) {
  ScheduleConfig c{.kind = ScheduleKind::kStep};
  c.milestones = {0.8, 0.9};
  c.factors = {0.316, 0.1};
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, AtStep(79, 100)), 1);
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, AtStep(80, 100)), 0.316);
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, AtStep(95, 100)), 0.1);
}

TEST(Schedule, RestartsBeginAtTheTopWithLongerCycles) {
  ScheduleConfig c{.kind = ScheduleKind::kCosineRestarts, .warmup_steps = 5, .final_ratio = 0.2};
  c.period = 10;
  c.period_factor = 3;
  for (int64_t start : {5, 15, 45, 135}) EXPECT_DOUBLE_EQ(ScheduleFactor(c, AtStep(start, 200)), 1);
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, AtStep(10, 200)), 0.6);  // half of 10
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, AtStep(30, 200)), 0.6);  // half of 30
  EXPECT_LT(ScheduleFactor(c, AtStep(44, 200)), 0.21);
}

TEST(Schedule, InverseSquareRootGoesOnFromTheWarmup) {
  ScheduleConfig c{.kind = ScheduleKind::kInverseSqrt, .warmup_steps = 4};
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, AtStep(3, 100)), 1);
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, AtStep(15, 100)), 0.5);
  c.warmup_steps = 0;
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, AtStep(0, 100)), 1);
  EXPECT_DOUBLE_EQ(ScheduleFactor(c, AtStep(24, 100)), 0.2);
}

// With as many tokens in every step, tokens say what steps say.
TEST(Schedule, TokensMeasureTheRunAsStepsDo) {
  constexpr int64_t kTokens = 37, kSteps = 120;
  for (const auto& name : EnumNames<ScheduleKind>::kAll) {
    ScheduleConfig steps{.kind = name.value, .warmup_steps = 8};
    steps.period = 20;
    steps.period_factor = 2;
    steps.milestones = {0.25, 0.5};
    steps.factors = {0.3, 0.1};
    ScheduleConfig tokens = steps;
    tokens.unit = ScheduleUnit::kTokens;
    tokens.warmup_steps = 0;
    tokens.warmup_tokens = 8 * kTokens;
    tokens.total_tokens = kSteps * kTokens;
    tokens.period *= kTokens;
    for (int64_t step = 0; step < kSteps; ++step) {
      const SchedulePosition at{step * kTokens, (step + 1) * kTokens, kSteps * kTokens};
      EXPECT_NEAR(ScheduleFactor(tokens, at), ScheduleFactor(steps, AtStep(step, kSteps)), 1e-15)
          << name.name << " " << step;
    }
  }
}

TEST(Schedule, VisitListsEveryField) { EXPECT_EQ(ForgottenFields<ScheduleConfig>(), ""); }

std::string LoadErrors(const std::string& yaml) {
  auto tree = ConfigTree::ParseString(yaml, "s.yaml");
  CHECK(tree.ok());
  return std::string(LoadConfig<ScheduleConfig>(*tree).status().message());
}

TEST(Schedule, UnitsAreNotMixed) {
  EXPECT_NE(LoadErrors("unit: tokens\n").find("must be given with unit tokens"), std::string::npos);
  EXPECT_NE(LoadErrors("unit: tokens\ntotal_tokens: 9\nwarmup_steps: 1\n").find("warmup_tokens"),
            std::string::npos);
  EXPECT_NE(LoadErrors("warmup_tokens: 9\n").find("only for unit tokens"), std::string::npos);
  EXPECT_NE(LoadErrors("total_tokens: 9\n").find("only for unit tokens"), std::string::npos);
  EXPECT_NE(LoadErrors("kind: cosine_restarts\n").find("must be given"), std::string::npos);
  EXPECT_NE(LoadErrors("period: 4\n").find("only for it"), std::string::npos);
  EXPECT_EQ(LoadErrors("unit: tokens\ntotal_tokens: 9\nwarmup_tokens: 9\n"), "");
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
