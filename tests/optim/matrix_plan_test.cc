#include "optim/matrix_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

#include "base/strings.h"

namespace choir {
namespace {

struct Model {
  std::deque<Matrices> matrices;
  std::vector<PlannedParameter> parameters;

  void Add(const std::string& name, Placement placement, Matrices of, int pipe = 0) {
    matrices.push_back(std::move(of));
    parameters.push_back({name, std::move(placement), &matrices.back(), pipe});
  }
};

OptimConfig Muon() {
  OptimConfig config;
  config.kind = OptimKind::kMuon;
  return config;
}

Model ManyMatrices() {
  Model model;
  model.Add("embedding", {{1000, 64}, Layout::Split(0, Axis::kTensor)}, {{{"rc"}}, true});
  for (int pipe = 0; pipe < 2; ++pipe) {
    for (int i = 0; i < 6; ++i) {
      const std::string prefix = StrCat("layers.", 6 * pipe + i, ".");
      model.Add(prefix + "norm", {{64}, {}}, {}, pipe);
      model.Add(prefix + "up", {{64 + 16 * i, 64}, {}}, {{{"rc"}}}, pipe);
      model.Add(prefix + "down", {{64, 64 + 16 * i}, {}}, {{{"rc"}}}, pipe);
      model.Add(prefix + "experts", {{6, 32, 64}, Layout::Split(0, Axis::kExpert)}, {{{"brc"}}},
                pipe);
    }
  }
  return model;
}

TEST(MatrixPlanTest, CutsNoMatrix) {
  const Model model = ManyMatrices();
  const MatrixPlan plan =
      PlanMatrices(Muon(), model.parameters, Mesh({.pipe = 2, .shard = 4, .expert = 2}));
  ASSERT_EQ(plan.cuts.size(), model.parameters.size());
  for (size_t i = 0; i < plan.cuts.size(); ++i) {
    const std::string& name = model.parameters[i].name;
    if (name.ends_with("norm") || name == "embedding") {
      EXPECT_EQ(plan.cuts[i], ShardCut()) << name;
    } else if (name.ends_with("experts")) {
      EXPECT_EQ(plan.cuts[i], ShardCut::Rows(1)) << name;
    } else {
      EXPECT_EQ(plan.cuts[i].kind, ShardCut::Kind::kOwner) << name;
      EXPECT_LT(plan.cuts[i].owner, 4) << name;
    }
  }
  const std::string text = Describe(plan);
  EXPECT_NE(text.find("pipeline rank 1 over shard (4)"), std::string::npos) << text;
}

// Graham's bound for the schedule: the fullest has at most 4/3 - 1 / (3 shards) of the best one's,
// and the best is at least the mean and the largest matrix.
TEST(MatrixPlanTest, IsBalanced) {
  const Model model = ManyMatrices();
  for (int shards : {2, 3, 4}) {
    const MatrixPlan plan =
        PlanMatrices(Muon(), model.parameters, Mesh({.pipe = 2, .shard = shards}));
    for (const ShardBalance& b : plan.balance) {
      if (b.axes != AxisSet(Axis::kShard)) continue;
      EXPECT_LE(b.work, 4.0 / 3) << shards;
      EXPECT_GE(b.work, 1) << shards;
      EXPECT_LE(b.elements, 4.0 / 3) << shards;
    }
  }
}

// Every pipeline rank is a knapsack of its own, and none of the other axes changes it.
TEST(MatrixPlanTest, DependsOnTheShardsAlone) {
  const Model model = ManyMatrices();
  const auto cuts = PlanMatrices(Muon(), model.parameters, Mesh({.pipe = 2, .shard = 3})).cuts;
  EXPECT_EQ(PlanMatrices(Muon(), model.parameters, Mesh({.pipe = 2, .shard = 3, .tensor = 4})).cuts,
            cuts);
  const size_t half = (model.parameters.size() - 1) / 2;
  for (size_t i = 1; i <= half; ++i) EXPECT_EQ(cuts[i], cuts[half + i]) << i;
}

TEST(MatrixPlanTest, ExpertsThatDoNotDivide) {
  const Model model = ManyMatrices();
  const MatrixPlan plan = PlanMatrices(Muon(), model.parameters, Mesh({.pipe = 2, .shard = 4}));
  const auto experts = std::find_if(plan.balance.begin(), plan.balance.end(), [](const auto& b) {
    return b.axes == AxisSet(Axis::kExpertData);
  });
  ASSERT_NE(experts, plan.balance.end());
  EXPECT_DOUBLE_EQ(experts->elements, 2 / 1.5);  // 6 experts for 4 shards
}

TEST(MatrixPlanTest, FactoredTakesVectorsAndTablesToo) {
  OptimConfig config;
  config.kind = OptimKind::kFactored;
  const Model model = ManyMatrices();
  const MatrixPlan plan = PlanMatrices(config, model.parameters, Mesh({.pipe = 2, .shard = 2}));
  EXPECT_EQ(plan.cuts[0].kind, ShardCut::Kind::kOwner);
  EXPECT_EQ(plan.cuts[1].kind, ShardCut::Kind::kOwner);
}

}  // namespace
}  // namespace choir
