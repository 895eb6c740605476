#include "optim/step_work.h"

#include <gtest/gtest.h>

#include "ops/work.h"
#include "tests/optim/optimizer_testing.h"

namespace choir {
namespace {

constexpr int64_t kRows = 24, kColumns = 16, kVector = 10;

struct Told {
  std::vector<std::string> names;
  std::vector<double> flops, bytes;
  std::vector<int64_t> groups;
  std::vector<WorkKind> kinds;
  bool operator==(const Told&) const = default;
};

// One step of a batch of three matrices and of a vector.
Told Step(OptimKind kind, Device device, const TargetPrecision& precision = {}) {
  Parameter matrix, vector;
  matrix.name = "matrix";
  vector.name = "vector";
  for (Parameter* p : {&matrix, &vector}) {
    const Shape shape = p == &matrix ? Shape{3, kRows, kColumns} : Shape{kVector};
    p->value = Tensor::Zeros(shape, {DType::kF32, device});
    p->grad = Tensor::Zeros(shape, {DType::kF32, device});
  }
  std::vector<OptimTarget> targets = WholeTargets({&matrix, &vector}, precision);
  targets[0].matrices = {{{"brc"}}};
  OptimConfig config;
  config.kind = kind;
  Optimizer optimizer(config, std::move(targets));
  Told told;
  const WorkListener listener = [&](const Work& work) {
    told.names.push_back(work.name);
    told.flops.push_back(work.flops);
    told.bytes.push_back(work.bytes);
    told.groups.push_back(work.groups);
    told.kinds.push_back(work.kind);
  };
  const ScopedWorkListener listening(listener);
  optimizer.Step({.lr = 1e-3});
  return told;
}

constexpr double kMatrix = 3 * kRows * kColumns;

TEST(StepWorkTest, MetaTellsWhatTheCpuTells) {
  for (const auto& [kind, name] : EnumNames<OptimKind>::kAll) {
    EXPECT_EQ(Step(kind, Device::kCpu), Step(kind, Device::kMeta)) << name;
    EXPECT_FALSE(Step(kind, Device::kMeta).names.empty()) << name;
  }
}

TEST(StepWorkTest, AdamWIsOnePassOverGradientValueAndMoments) {
  const Told told = Step(OptimKind::kAdamW, Device::kMeta);
  EXPECT_EQ(told.bytes, (std::vector<double>{7 * 4 * kMatrix, 7 * 4 * kVector}));
  const Told rounded =
      Step(OptimKind::kAdamW, Device::kMeta, {.m = MomentFormat::kBF16, .v = MomentFormat::kBF16});
  EXPECT_EQ(rounded.bytes[0], (3 * 4 + 4 * 2) * kMatrix);
  EXPECT_EQ(told.kinds, (std::vector(2, WorkKind::kOptimizer)));
}

TEST(StepWorkTest, MuonTellsItsProducts) {
  const OptimConfig config;
  const Told told = Step(OptimKind::kMuon, Device::kMeta);
  double flops = 0;
  for (size_t i = 0; i < told.names.size(); ++i) {
    flops += told.flops[i];
    if (told.flops[i] > 0) {
      EXPECT_EQ(told.kinds[i], WorkKind::kMatmul);
      EXPECT_EQ(told.groups[i], 3);
    }
  }
  constexpr double kN = kColumns, kM = kRows;  // the smaller side is squared
  const double step = kN * (kN + 1) * kM + kN * (kN + 1) * kN + 2 * kN * kN * kM;
  const auto steps = static_cast<double>(config.muon.steps + config.muon.final_steps);
  EXPECT_DOUBLE_EQ(flops, 3 * steps * step);
  EXPECT_EQ(told.names[0], "muon_step");
  EXPECT_EQ(told.names.back(), "optimizer_step") << "vectors are left to adamw";
}

}  // namespace
}  // namespace choir
