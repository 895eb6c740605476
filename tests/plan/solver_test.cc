#include "plan/solver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <optional>
#include <string>
#include <vector>

#include "tests/plan/recompute_graphs.h"

namespace choir {
namespace {

TEST(SolverTest, SlowSmallGraphsAreSolvedExactly) {
  int solved = 0, impossible = 0;
  for (uint64_t seed = 0; seed < 70; ++seed) {
    const RecomputeGraph graph = RandomGraph(seed, {.kernels = 5 + static_cast<int>(seed % 8)});
    const RecomputeModel model = MakeRecomputeModel(graph);
    if (model.classes.size() > 9) continue;
    std::vector<RecomputeCost> all;
    ClassActions actions(model.classes.size(), RecomputeAction::kKeep);
    do {
      all.push_back(Evaluate(model, actions));
    } while (Next(model, actions));
    const int64_t most = all.front().peak_bytes;
    for (int64_t part : {100, 90, 75, 60, 50}) {
      const int64_t budget = most * part / 100;
      std::optional<double> least;
      for (const RecomputeCost& cost : all) {
        if (cost.peak_bytes <= budget && cost.seconds <= least.value_or(cost.seconds)) {
          least = cost.seconds;
        }
      }
      const auto plan = SolveRecompute(graph, budget);
      ASSERT_EQ(plan.ok(), least.has_value()) << seed << " " << part;
      if (!plan.ok()) {
        ++impossible;
        EXPECT_EQ(plan.status().code(), absl::StatusCode::kOutOfRange);
        continue;
      }
      ++solved;
      EXPECT_TRUE(plan->exact) << seed;
      EXPECT_NEAR(plan->cost.seconds, *least, 1e-9) << seed << " " << part;
      EXPECT_LE(plan->cost.peak_bytes, budget) << seed;
      EXPECT_EQ(Evaluate(graph, plan->choice).peak_bytes, plan->cost.peak_bytes) << seed;
    }
  }
  EXPECT_GT(solved, 150);
  EXPECT_GT(impossible, 30);
}

int64_t KeepingAll(const RecomputeGraph& graph) {
  return Evaluate(graph, RecomputeChoice(graph.tensors.size(), RecomputeAction::kKeep)).peak_bytes;
}

struct Large {
  StackOptions stack;
  std::vector<int64_t> percents;
};

class LargeTest : public testing::TestWithParam<Large> {};

// Prints how long it takes; the aim is 5 s a budget on two cores.
TEST_P(LargeTest, SlowIsNearTheBound) {
  const RecomputeGraph graph = StackGraph(GetParam().stack);
  const int64_t most = KeepingAll(graph);
  for (int64_t percent : GetParam().percents) {
    const auto start = std::clock();
    const auto plan = SolveRecompute(graph, most * percent / 100);
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    ASSERT_TRUE(plan.ok()) << plan.status();
    std::printf("%3d %% of keeping all: %.2f s, %.2f %% over the bound\n",
                static_cast<int>(percent), seconds,
                100 * (plan->cost.seconds / std::max(plan->bound, 1e-30) - 1));
    EXPECT_LE(plan->cost.peak_bytes, most * percent / 100);
    EXPECT_GE(plan->cost.seconds, plan->bound);
    EXPECT_LE(plan->cost.seconds, 1.02 * plan->bound) << percent;
    EXPECT_EQ(plan->cost.peak_bytes, Evaluate(graph, plan->choice).peak_bytes);
  }
}

INSTANTIATE_TEST_SUITE_P(Stacks, LargeTest,
                         testing::Values(Large{{.layers = 100}, {95, 80, 60, 40, 20, 10}},
                                         Large{{.layers = 100, .experts_from = 3, .copies = 8},
                                               {90, 60, 30, 15, 10}}));

TEST(SolverTest, SameAnswerAgain) {
  const RecomputeGraph graph = StackGraph({.layers = 6, .experts_from = 2, .copies = 3});
  const int64_t budget = KeepingAll(graph) / 2;
  const auto a = SolveRecompute(graph, budget), b = SolveRecompute(graph, budget);
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(a->choice, b->choice);
  EXPECT_EQ(a->rules, b->rules);
}

TEST(SolverTest, WhatFitsIsKept) {
  const RecomputeGraph graph = StackGraph({.layers = 4});
  const auto plan = SolveRecompute(graph, KeepingAll(graph));
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->cost.seconds, 0);
  EXPECT_TRUE(plan->exact);
  EXPECT_TRUE(plan->rules.empty());
}

TEST(SolverTest, CurveFallsAndEachPointKeepsItsBudget) {
  const RecomputeGraph graph = StackGraph({.layers = 8, .experts_from = 4, .offload = true});
  const std::vector<RecomputePlan> curve = ParetoCurve(graph, 9);
  ASSERT_GE(curve.size(), 5u);
  EXPECT_EQ(curve.front().cost.seconds, 0);
  for (size_t i = 1; i < curve.size(); ++i) {
    EXPECT_LT(curve[i].cost.peak_bytes, curve[i - 1].cost.peak_bytes);
    EXPECT_GT(curve[i].cost.seconds, curve[i - 1].cost.seconds);
    EXPECT_GE(curve[i].cost.seconds, curve[i].bound);
    EXPECT_FALSE(curve[i].rules.empty());
  }
}

TEST(SolverTest, ImpossibleBudgetsAreRefusedWithTheLeast) {
  const RecomputeGraph graph = StackGraph({.layers = 4});
  const auto none = SolveRecompute(graph, graph.fixed_bytes);
  ASSERT_EQ(none.status().code(), absl::StatusCode::kOutOfRange);
  const std::string message(none.status().message());
  const int64_t least = std::stoll(message.substr(message.rfind(' ')));
  EXPECT_TRUE(SolveRecompute(graph, least).ok());
}

}  // namespace
}  // namespace choir
