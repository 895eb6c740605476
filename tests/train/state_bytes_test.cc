// Bytes of the training state: measured, and as docs/precision.md says, for every recipe and stage
// of ZeRO.
#include "train/state_bytes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/strings.h"
#include "parallel/comm/local_world.h"
#include "tests/train/run_fixture.h"
#include "train/model_precision.h"
#include "train/verify.h"

namespace choir::train_test {
namespace {

using ::testing::HasSubstr;

// Whole blocks of 8-bit moments: rows of 128, and of 8 pieces of 128 where ranks may split them.
RunConfig Config(const std::vector<std::string>& more) {
  std::vector<std::string> overrides = {"--run.dir=" + FreshPath("bytes"),
                                        "--data.path=" + TinyData(),
                                        "--train.microbatch_sequences=1",
                                        "--model.layers=1",
                                        "--model.hidden=128",
                                        "--model.heads=4",
                                        "--model.kv_heads=1",
                                        "--model.ffn=1024"};
  overrides.insert(overrides.end(), more.begin(), more.end());
  auto config = LoadConfigFile<RunConfig>(ConfigPath("tiny"), overrides);
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}

std::string LayoutOf(int zero) {
  return zero == 0 ? "data=2" : StrCat("data=2,shard=2,zero=", zero);
}

// The table of docs/precision.md: bytes for each parameter of a matrix.
struct Documented {
  const char* recipe;
  std::vector<std::string> more;
  double weights, optimizer;
};
const Documented kTable[] = {
    {"fp32", {}, 4, 8},
    {"bf16", {}, 2, 12},
    {"bf16-lean", {}, 2, 4},
    {"fp16", {}, 4, 8},
    {"fp8-block", {}, 2, 8},
    {"mxfp8", {}, 2, 8},
    {"fp32", {"--precision.moments=int8"}, 4, 2.0625},
    {"bf16", {"--precision.moments=int8"}, 2, 6.0625},
    {"bf16", {"--precision.moments=bf16", "--optim.kind=lion"}, 2, 6},
};

void ExpectDocumented(const Documented& row, int zero) {
  SCOPED_TRACE(StrCat(row.recipe, " zero ", zero));
  std::vector<std::string> overrides = row.more;
  overrides.push_back(StrCat("--precision.recipe=", row.recipe));
  RunConfig config = Config(overrides);
  config.parallel = ParseLayout(LayoutOf(zero))->parallel;
  const absl::Status status = RunLocal(2, WorldOptionsOf(config), [&](World& world) {
    auto made = Trainer::Make(config, &world);
    ASSERT_TRUE(made.ok()) << made.status();
    Trainer& trainer = **made;
    const double moments = config.optim.kind == OptimKind::kLion ? 1 : 2;
    double optimizer = 0, weights = 0;
    int64_t tensors = 0;
    for (size_t i = 0; i < trainer.optimizer().size(); ++i) {
      const OptimTarget& target = trainer.optimizer().target(i);
      const auto n = static_cast<double>(target.value.NumElements());
      const auto whole = static_cast<double>(target.parameter->shape().NumElements());
      const bool high = !target.matrix();
      const double kept = zero == 3 && target.matrix() ? n : whole;
      optimizer += n * (high ? 4 * moments : row.optimizer);
      weights += kept * (high ? 4 : row.weights);
      tensors += 5;  // at most: master, moments, scales
    }
    const StateBytes bytes = MeasureState(trainer);
    EXPECT_EQ(static_cast<double>(bytes.optimizer), optimizer);
    EXPECT_EQ(static_cast<double>(bytes.weights), weights);
    // The allocator agrees, up to its rounding of each tensor.
    const int64_t allocated = CurrentLedger(Device::kCpu).Current(MemoryCategory::kOptimizer);
    EXPECT_GE(allocated, bytes.optimizer);
    EXPECT_LE(allocated, bytes.optimizer + tensors * kAlignment);
    char printed[64];
    std::snprintf(printed, sizeof(printed), "optimizer %.2f",
                  optimizer / static_cast<double>(bytes.parameters));
    EXPECT_THAT(Describe(bytes), HasSubstr(printed));
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST(StateBytesTest, SlowAreThoseOfTheTable) {
  for (const Documented& row : kTable) {
    for (int zero : {0, 1, 2, 3}) {
      if (zero == 1 || row.more.empty()) ExpectDocumented(row, zero);
    }
  }
}

TEST(StateBytesTest, GradientsFollowTheStage) {
  for (int zero : {0, 1, 2, 3}) {
    SCOPED_TRACE(zero);
    RunConfig config = Config({"--precision.recipe=bf16"});
    config.parallel = ParseLayout(LayoutOf(zero))->parallel;
    const absl::Status status = RunLocal(2, WorldOptionsOf(config), [&](World& world) {
      auto made = Trainer::Make(config, &world);
      ASSERT_TRUE(made.ok()) << made.status();
      const StateBytes bytes = MeasureState(**made);
      const double each =
          static_cast<double>(bytes.gradients) / static_cast<double>(bytes.parameters);
      // Whole, or whole and a half, or a half; always in F32.
      EXPECT_NEAR(each, zero == 0 ? 4 : zero == 1 ? 6 : 2, 0.02);
    });
    EXPECT_TRUE(status.ok()) << status;
  }
}

}  // namespace
}  // namespace choir::train_test
