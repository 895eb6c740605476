// What PlanLayout makes of the keys of token exchanges, and why it refuses some.
#include "train/layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "train/verify.h"

namespace choir {
namespace {

using ::testing::HasSubstr;

RunConfig MoeRun(const std::string& layout, Numerics numerics = Numerics::kFast) {
  RunConfig config;
  const auto parsed = ParseLayout(layout);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  config.parallel = parsed->parallel;
  config.numerics = numerics;
  config.model.vocab_size = 64;
  config.model.layers = 4;
  config.model.hidden = 16;
  config.model.heads = 4;
  config.model.moe.experts = 10;
  config.model.moe.top_k = 2;
  config.model.moe.width = 8;
  config.train.microbatch_sequences = 1;
  config.data.batch_sequences = 48;
  config.data.sequence_length = 32;
  return config;
}

absl::StatusOr<RunLayout> Plan(const RunConfig& config, int node_size = 0) {
  const ParallelConfig& p = config.parallel;
  return PlanLayout(config, *p.data * p.tensor * p.context * p.pipeline, node_size);
}

std::string Refusal(const std::string& layout, Numerics numerics = Numerics::kFast) {
  return std::string(Plan(MoeRun(layout, numerics)).status().message());
}

TEST(ExchangeLayoutTest, Chunks) {
  const auto plan = Plan(MoeRun("data=4,expert=4,expert_chunks=2"));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->exchange.pieces, 2);
  EXPECT_EQ(plan->exchange.node_size, 0);
  EXPECT_THAT(Describe(*plan), HasSubstr("expert 4, expert_chunks 2"));
  EXPECT_THAT(Refusal("data=4,expert=4,expert_chunks=3"),
              HasSubstr("parallel.expert_chunks: a piece is a run of a rank's experts, so 3 is too "
                        "many: of 10 experts on expert 4 ranks one has 2"));
  EXPECT_THAT(Refusal("data=4,expert_chunks=2"),
              HasSubstr("parallel.expert_chunks: 2 cuts nothing"));
  EXPECT_EQ(Refusal("data=2,expert_tensor=2,expert_chunks=10"), "");
}

TEST(ExchangeLayoutTest, Nodes) {
  const std::string two = "two_level_exchange=true";
  auto plan = Plan(MoeRun("data=8,expert=8,node_size=4," + two));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->exchange.node_size, 4);
  // What the launcher says is used where the config leaves it open.
  plan = Plan(MoeRun("data=8,expert=8," + two), /*node_size=*/2);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->exchange.node_size, 2);
  EXPECT_THAT(Describe(*plan), HasSubstr("exchange over nodes of 2"));

  plan = Plan(MoeRun("data=8,expert=4,node_size=8," + two));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->exchange.node_size, 0) << "inside of a node there is one level";
  EXPECT_THAT(Refusal("data=8,expert=8," + two), HasSubstr("parallel.node_size: two_level"));
  EXPECT_THAT(Refusal("data=8,node_size=4," + two), HasSubstr("no tokens are exchanged"));
  EXPECT_THAT(Refusal("data=8,expert=8,node_size=4," + two, Numerics::kInvariant),
              HasSubstr("numerics invariant excludes"));
  EXPECT_THAT(Refusal("data=12,expert=6,node_size=4," + two),
              HasSubstr("expert 6 x expert_tensor 1 = 6 ranks exchange tokens; they must be whole "
                        "nodes or lie inside of one, and a node has 4 ranks"));
  EXPECT_THAT(Refusal("data=8,expert=2,expert_tensor=4,node_size=2," + two),
              HasSubstr("the expert_tensor 4 ranks of an expert must share a node"));
  EXPECT_THAT(Refusal("data=8,expert=8,node_size=4"),
              HasSubstr("parallel.node_size: only two_level_exchange and auto_layout depend on"));
}

TEST(ExchangeLayoutTest, CapacityIsForExperts) {
  EXPECT_EQ(Refusal("data=2,capacity_factor=1"), "");
  RunConfig open = MoeRun("data=2,capacity_factor=1");
  open.train.microbatch_sequences.reset();
  EXPECT_THAT(std::string(Plan(open).status().message()),
              HasSubstr("train.microbatch_sequences: auto follows the number of data ranks"));
  open.parallel.data = 1;
  EXPECT_TRUE(Plan(open).ok()) << "the whole batch is one microbatch";
  RunConfig dense = MoeRun("data=2,capacity_factor=1");
  dense.model.moe.experts = 0;
  EXPECT_THAT(std::string(Plan(dense).status().message()),
              HasSubstr("parallel.capacity_factor: is for experts"));
}

TEST(ParallelOfTest, CapacityIsTheConfigsUnlessGiven) {
  RunConfig config;
  config.parallel.capacity_factor = 1.5;
  config.parallel.tensor = 4;
  const auto plain = ParseLayout("data=2"), given = ParseLayout("data=2,capacity_factor=2");
  ASSERT_TRUE(plain.ok() && given.ok());
  EXPECT_EQ(ParallelOf(*plain, config).capacity_factor, 1.5);
  EXPECT_EQ(ParallelOf(*plain, config).tensor, 1);
  EXPECT_EQ(ParallelOf(*given, config).capacity_factor, 2);
}

TEST(PrecisionLayoutTest, RanksDoNotCutBlocksOfFp8) {
  RunConfig config = MoeRun("tensor=3");
  EXPECT_TRUE(Plan(config).ok()) << Plan(config).status();
  config.precision.recipe = PrecisionRecipe::kFp8Block;
  EXPECT_THAT(std::string(Plan(config).status().message()),
              HasSubstr("parallel.tensor: 3 ranks would cut the blocks"));
  config.precision.matmul = MatmulFormat::kBF16;
  EXPECT_TRUE(Plan(config).ok()) << Plan(config).status();
}

TEST(PrecisionLayoutTest, RoundedExchangesAreForFastNumerics) {
  RunConfig config = MoeRun("data=2", Numerics::kInvariant);
  config.precision.wire = ValueFormat::kBf16;
  EXPECT_THAT(std::string(Plan(config).status().message()), HasSubstr("precision.wire: "));
  config.numerics = Numerics::kFast;
  EXPECT_TRUE(Plan(config).ok()) << Plan(config).status();
}

}  // namespace
}  // namespace choir
