// Training with context_method ring: what each rank gets of a padded batch, and that the layout
// changes nothing else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "data/loader/loader.h"
#include "eval/model_input.h"
#include "parallel/comm/local_world.h"
#include "tests/train/run_fixture.h"
#include "train/layout.h"
#include "train/microbatches.h"
#include "train/verify.h"

namespace choir::train_test {
namespace {

using ::testing::HasSubstr;

// Rows so long that documents leave some of them unfilled.
RunConfig PaddedConfig(const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {
      "--data.path=" + TinyData(),     "--train.microbatch_sequences=2",
      "--data.sequence_length=124",    "--data.batch_sequences=4",
      "--data.packing.look_ahead=1",   "--model.moe.sequence_loss=0.01",
      "--model.moe.balance_loss=0.01", "--model.moe.z_loss=0.01"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const auto config = LoadConfigFile<RunConfig>(ConfigPath("moe-tiny"), arguments);
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}

void ExpectRows(const Tensor& here, const Tensor& whole, const RowRuns& runs) {
  ASSERT_EQ(here.dim(0), NumRows(runs));
  for (const RowRun& run : runs) {
    for (int64_t i = 0; i < run.count; ++i) {
      if (whole.dtype() == DType::kF32) {
        ASSERT_EQ(here.data<float>()[run.here + i], whole.data<float>()[run.begin + i]);
      } else {
        ASSERT_EQ(here.data<int32_t>()[run.here + i], whole.data<int32_t>()[run.begin + i]);
      }
    }
  }
}

TEST(RingThreadTest, RanksGetTheirTokensAndUnequalPadding) {
  const RunConfig config = PaddedConfig();
  const auto loader = BatchLoader::Open(config.data);
  ASSERT_TRUE(loader.ok()) << loader.status();
  auto batch = (*loader)->Next();
  for (int n = 0; n < 100 && batch.ok() && batch->num_labels == batch->tokens.NumElements(); ++n) {
    batch = (*loader)->Next();
  }
  ASSERT_TRUE(batch.ok()) << batch.status();
  const ModelInput whole = MicrobatchInput(*batch, 0, 4);
  ASSERT_LT(batch->num_labels, batch->tokens.NumElements()) << "no padding";
  const LeafTree tree(1, kVirtualPieces);
  std::vector<int64_t> labels(6);
  const absl::Status status = RunLocal(6, {}, [&](World& world) {
    const Place place(Mesh({.context = 3, .tensor = 2}), &world, Numerics::kFast,
                      ContextMethod::kRing);
    const ModelInput local = LocalInput(whole, place, tree, 0);
    const TokenPlan& plan = local.block.tokens;
    ExpectRows(local.tokens, whole.tokens, plan.here);
    ExpectRows(local.labels, whole.labels, plan.here);
    ExpectRows(local.block.positions, whole.block.positions, plan.here);
    ExpectRows(local.block.valid, whole.block.valid, plan.local);
    int64_t& count = labels[static_cast<size_t>(world.rank())];
    for (float valid : local.block.valid.span<const float>()) count += valid != 0;
  });
  ASSERT_TRUE(status.ok()) << status;
  int64_t all = 0;
  for (int64_t n : labels) all += n;
  EXPECT_EQ(all, batch->num_labels);
  EXPECT_GT(std::set<int64_t>(labels.begin(), labels.end()).size(), 2U) << "padding is even";
}

void ExpectVerified(const RunConfig& config, const std::vector<std::string>& layouts) {
  std::vector<VerifyLayout> parsed;
  for (const std::string& text : layouts) parsed.push_back(ParseLayout(text).value());
  VerifyOptions options;
  options.numerics = Numerics::kFast;
  size_t checked = 0;
  const absl::Status status =
      VerifyLocal(config, parsed, options, [&checked](const LayoutVerdict& v) {
        ++checked;
        EXPECT_TRUE(v.ok()) << v.layout.name << ": " << v.status << " loss " << v.loss.where
                            << " norm " << v.grad_norm.where << " gradients " << v.gradients.where
                            << " weights " << v.weights.where;
      });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(checked, layouts.size());
}

TEST(RingThreadTest, PaddedBatchesTrainAsOnOneRank) {
  ExpectVerified(PaddedConfig(), {"context=2,context_method=ring", "context=3,context_method=ring",
                                  "tensor=2,context=2,expert=2,context_method=ring"});
}

TEST(RingThreadTest, WithoutDocumentMasks) {
  ExpectVerified(PaddedConfig({"--data.packing.document_masks=false"}),
                 {"context=4,context_method=ring"});
}

TEST(RingThreadTest, Recomputed) {
  ExpectVerified(PaddedConfig({"--train.recompute=[\"*\", \"!residual\"]"}),
                 {"context=3,context_method=ring", "context=2,pipeline=2,context_method=ring"});
}

TEST(RingTest, OnlyInFastMode) {
  RunConfig config = PaddedConfig({"--numerics=invariant", "--parallel.context=2"});
  EXPECT_TRUE(PlanLayout(config, 2).ok());
  config.parallel.context_method = ContextMethod::kRing;
  EXPECT_THAT(std::string(PlanLayout(config, 2).status().message()),
              HasSubstr("parallel.context_method: ring adds a softmax up"));
  config.numerics = Numerics::kFast;
  const auto layout = PlanLayout(config, 2);
  ASSERT_TRUE(layout.ok()) << layout.status();
  EXPECT_THAT(Describe(*layout), HasSubstr("context 2 (ring)"));
}

}  // namespace
}  // namespace choir::train_test
