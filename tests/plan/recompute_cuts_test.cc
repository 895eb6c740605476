#include "plan/recompute_cuts.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "plan/solver.h"
#include "tests/plan/recompute_graphs.h"

namespace choir {
namespace {

// Keeps the inputs of blocks (of every second one, ...), drops everything else.
ClassActions BlockInputs(const RecomputeModel& model, int every) {
  ClassActions actions;
  for (const RecomputeClass& c : model.classes) {
    const auto& [tag, layer] = c.names.front();
    const bool keeps = tag == "residual.in" && layer % every == 0;
    actions.push_back(keeps ? RecomputeAction::kKeep : RecomputeAction::kRecompute);
  }
  return actions;
}

TEST(CheckpointChoicesTest, BlockInputsAreAmongThem) {
  for (int experts_from : {2, 100}) {
    const RecomputeModel model =
        MakeRecomputeModel(StackGraph({.layers = 6, .experts_from = experts_from}));
    const int64_t peak = Evaluate(model, BlockInputs(model, 1)).peak_bytes;
    int64_t least = INT64_MAX;
    for (const ClassActions& actions : CheckpointChoices(model)) {
      least = std::min(least, Evaluate(model, actions).peak_bytes);
    }
    EXPECT_LE(least, peak);
  }
}

TEST(CheckpointChoicesTest, SolverIsNotAboveCheckpointsByHand) {
  for (int experts_from : {1, 100}) {
    const RecomputeGraph graph = StackGraph({.layers = 12, .experts_from = experts_from});
    const RecomputeModel model = MakeRecomputeModel(graph);
    for (int every : {1, 2, 3}) {
      const RecomputeCost hand = Evaluate(model, BlockInputs(model, every));
      const auto plan = SolveRecompute(graph, hand.peak_bytes);
      ASSERT_TRUE(plan.ok()) << plan.status();
      EXPECT_LE(plan->cost.seconds, hand.seconds) << every;
    }
  }
}

}  // namespace
}  // namespace choir
