#include "plan/recompute_bound.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "tests/plan/recompute_graphs.h"

namespace choir {
namespace {

TEST(RecomputeBoundTest, NoChoiceWithinTheBudgetIsCheaper) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const RecomputeGraph graph = RandomGraph(seed, {.kernels = 8});
    const RecomputeModel model = MakeRecomputeModel(graph);
    if (model.classes.size() > 8) continue;
    const RecomputeRelaxation relaxation(model);
    const CounterRandom random(seed, "test/prices");
    const ClassActions keep(model.classes.size(), RecomputeAction::kKeep);
    const int64_t most = Evaluate(model, keep).peak_bytes;
    for (uint64_t n = 0; n < 6; ++n) {
      MemoryPrices prices;
      for (size_t m = 0; m < relaxation.moments(); ++m) {
        const double share = random.Uniform(2 * (100 * n + m));
        prices.push_back(share < 0.6 ? 0 : 2 * relaxation.unit_price() * share);
      }
      DecidedActions decided(model.classes.size());
      if (n % 2 == 1 && !decided.empty()) {
        decided[random.Below(999 + n, decided.size())] =
            n % 3 == 0 ? RecomputeAction::kKeep : RecomputeAction::kRecompute;
      }
      const int64_t budget = most - most / 8 * static_cast<int64_t>(n % 3);
      const double bound = relaxation.Solve(prices, budget, decided).seconds;
      ClassActions actions = keep;
      do {
        bool as_decided = true;
        for (size_t c = 0; c < actions.size(); ++c) {
          as_decided = as_decided && decided[c].value_or(actions[c]) == actions[c];
        }
        const RecomputeCost cost = Evaluate(model, actions);
        if (!as_decided || cost.peak_bytes > budget) continue;
        ASSERT_GE(cost.seconds, bound - 1e-9) << seed << " " << n;
      } while (Next(model, actions));
    }
  }
}

}  // namespace
}  // namespace choir
