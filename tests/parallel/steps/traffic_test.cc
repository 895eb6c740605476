// The bytes of a step are those of the formulas in docs/parallelism.md.
#include "train/traffic.h"

#include <gtest/gtest.h>

#include <mutex>
#include <string>
#include <vector>

#include "parallel/comm/local_world.h"
#include "tests/train/run_fixture.h"
#include "train/trainer.h"
#include "train/verify.h"

namespace choir {
namespace {

// Every token visits every expert, so that loads are even; no balance losses.
RunConfig Config() {
  auto config = LoadConfigFile<RunConfig>(
      train_test::ConfigPath("moe-tiny"),
      {"--data.path=" + train_test::TinyData(), "--train.microbatch_sequences=1",
       "--data.sequence_length=128", "--data.batch_sequences=8", "--data.packing.look_ahead=1",
       "--model.moe.experts=4", "--model.moe.top_k=4", "--model.moe.sequence_loss=0"});
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}

void ExpectFormula(RunConfig config, const char* text) {
  const auto layout = ParseLayout(text);
  ASSERT_TRUE(layout.ok()) << layout.status();
  config.parallel = layout->parallel;
  const auto plan = PlanLayout(config, layout->world);
  ASSERT_TRUE(plan.ok()) << plan.status();

  std::mutex mutex;
  Traffic sent;
  int64_t labels = 0;
  const absl::Status status = RunLocal(layout->world, {}, [&](World& world) {
    auto trainer = Trainer::Make(config, &world);
    ASSERT_TRUE(trainer.ok()) << trainer.status();
    ASSERT_TRUE((*trainer)->Step().ok());
    const Traffic before = Sorted(world.Counts());
    const auto report = (*trainer)->Step();
    ASSERT_TRUE(report.ok()) << report.status();
    const Traffic after = Sorted(world.Counts());
    const std::lock_guard lock(mutex);
    labels = report->step_labels;
    for (auto axis : {&Traffic::data, &Traffic::tensor, &Traffic::expert, &Traffic::context,
                      &Traffic::pipeline}) {
      sent.*axis += after.*axis - before.*axis;
    }
  });
  ASSERT_TRUE(status.ok()) << status;
  const Transformer model(config.model, *config.model.vocab_size, {DType::kF32, Device::kMeta});
  const Traffic formula = StepTraffic(config, *plan, model.parameters(), labels);
  EXPECT_EQ(sent.data, formula.data);
  EXPECT_EQ(sent.tensor, formula.tensor);
  EXPECT_EQ(sent.expert, formula.expert);
  if (plan->context_method == ContextMethod::kRing) {
    EXPECT_GT(sent.context, 0);
    EXPECT_LE(sent.context, formula.context);
  } else {
    EXPECT_EQ(sent.context, formula.context);
  }
  EXPECT_EQ(sent.pipeline, formula.pipeline);
}

class TrafficTest : public testing::TestWithParam<const char*> {};

TEST_P(TrafficTest, IsThatOfTheFormula) { ExpectFormula(Config(), GetParam()); }

// Matrices that are split, of which one shard has the whole.
TEST(MatrixTrafficTest, IsThatOfTheFormula) {
  for (OptimKind rule : {OptimKind::kMuon, OptimKind::kFactored}) {
    RunConfig config = Config();
    config.optim.kind = rule;
    for (const char* layout :
         {"tensor=2", "data=2,expert_tensor=2", "data=4,shard=2,tensor=2,expert_tensor=2",
          "data=2,shard=2,tensor=2,zero=3", "tensor=2,pipeline=2"}) {
      SCOPED_TRACE(layout);
      ExpectFormula(config, layout);
    }
  }
}

// 16-bit weights, and gradients between data ranks.
TEST(PrecisionTrafficTest, IsThatOfTheFormula) {
  RunConfig config = Config();
  config.precision.recipe = PrecisionRecipe::kBf16;
  config.precision.wire = ValueFormat::kBf16;
  for (const char* layout :
       {"data=2", "data=8", "data=2,shard=2", "data=8,shard=2", "data=4,expert=2",
        "data=2,shard=2,zero=2", "data=4,shard=2,zero=3,expert=2", "data=2,tensor=2",
        "data=2,shard=2,pipeline=2"}) {
    SCOPED_TRACE(layout);
    ExpectFormula(config, layout);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, TrafficTest,
    testing::Values("data=2", "data=8", "data=2,shard=2", "data=8,shard=2", "tensor=2", "tensor=4",
                    "context=2", "context=3", "tensor=2,context=2", "pipeline=2",
                    "pipeline=3,schedule=zero_bubble", "data=2,expert=2", "data=4,expert=4",
                    "data=2,expert_tensor=2", "data=4,expert=2,expert_tensor=2",
                    "data=4,shard=2,expert=2", "data=2,shard=2,context=2", "data=2,shard=2,zero=2",
                    "data=8,shard=2,zero=2", "data=2,shard=2,zero=3",
                    "data=4,shard=2,zero=3,expert=2", "data=2,shard=2,tensor=2,context=2,zero=2",
                    "data=2,shard=2,tensor=2,context=2,zero=3",
                    "data=2,shard=2,pipeline=2,expert=2,zero=2", "context=2,context_method=ring",
                    "data=2,context=4,context_method=ring", "data=2,expert=2,expert_chunks=2",
                    "data=2,tensor=2,pipeline=2,expert=4", "data=2,context=2,pipeline=2,expert=2",
                    "data=2,shard=2,tensor=2,pipeline=2,expert=2"));

}  // namespace
}  // namespace choir
