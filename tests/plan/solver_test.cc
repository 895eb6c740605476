#include "plan/solver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>

#include "tests/plan/recompute_graphs.h"

namespace choir {
namespace {

bool Next(const RecomputeModel& model, ClassActions& actions) {
  for (size_t c = 0; c < actions.size(); ++c) {
    const int last = model.classes[c].can_offload ? 2 : 1;
    const int next = static_cast<int>(actions[c]) + 1;
    actions[c] = static_cast<RecomputeAction>(next <= last ? next : 0);
    if (next <= last) return true;
  }
  return false;
}

TEST(SolverTest, SmallGraphsAreSolvedExactly) {
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

void Explore(const StackOptions& options) {
  const RecomputeGraph graph = StackGraph(options);
  const RecomputeModel model = MakeRecomputeModel(graph);
  const int64_t most =
      Evaluate(model, ClassActions(model.classes.size(), RecomputeAction::kKeep)).peak_bytes;
  double forward = 0;
  for (const auto& k : graph.kernels) forward += k.seconds;
  std::printf("%d layers, %zu tensors, %d copies, forward %g s, most %.0f MiB\n", options.layers,
              graph.tensors.size(), options.copies, forward, most / 1048576.0);
  for (int part : getenv("DBG")
                      ? std::vector<int>{70}
                      : std::vector<int>{99, 95, 90, 80, 70, 60, 50, 40, 30, 25, 20, 15, 10}) {
    const auto start = std::chrono::steady_clock::now();
    const auto plan = SolveRecompute(graph, most / 100 * part);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (!plan.ok()) {
      std::printf("  %d %%: %.2f s: %s\n", part, seconds, plan.status().ToString().c_str());
      continue;
    }
    std::printf(
        "  %3d %%: %5.2f s: cost %9.4f bound %9.4f gap %.2f %% exact %d peak %.1f %% at %d, %zu "
        "rules\n",
        part, seconds, plan->cost.seconds, plan->bound,
        100 * (plan->cost.seconds / std::max(plan->bound, 1e-9) - 1), plan->exact,
        100.0 * plan->cost.peak_bytes / most, plan->cost.peak_node, plan->rules.size());
  }
}
TEST(SolverTest, Explore) {
  Explore({.layers = 100});

  Explore({.layers = 100, .experts_from = 3, .copies = 8});
  Explore({.layers = 20, .experts_from = 3, .copies = 4, .offload = true});
  Explore({.layers = 8});
  Explore({.layers = 8, .experts_from = 1, .copies = 4});
}

}  // namespace
}  // namespace choir
