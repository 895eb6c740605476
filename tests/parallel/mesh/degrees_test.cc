#include "parallel/mesh/degrees.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/config_fields.h"
#include "parallel/mesh/layout_search.h"

namespace choir {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

absl::StatusOr<ParallelConfig> Load(const std::string& text) {
  const auto tree = ConfigTree::ParseString(text, "p.yaml");
  if (!tree.ok()) return tree.status();
  return LoadConfig<ParallelConfig>(*tree);
}

// The error of loading, or "".
std::string LoadError(const std::string& text) {
  return std::string(Load(text).status().message());
}

ModelLimits Limits() {
  return {.layers = 12,
          .hidden = 64,
          .heads = 8,
          .kv_heads = 4,
          .ffn = 48,
          .experts = 8,
          .expert_width = 4,
          .vocab = 512,
          .microbatches = 8,
          .tokens = 64};
}

std::string Resolved(const std::string& text, int world, const ModelLimits& limits = Limits()) {
  const auto config = Load(text);
  if (!config.ok()) return "load: " + std::string(config.status().message());
  const auto degrees = ResolveDegrees(*config, world, limits);
  return degrees.ok() ? ToString(*degrees) : std::string(degrees.status().message());
}

TEST(ParallelConfig, VisitsEveryField) { EXPECT_EQ(ForgottenFields<ParallelConfig>(), ""); }

TEST(ParallelConfig, LoadsEveryEnum) {
  EXPECT_EQ(Load("context_method: ring\n")->context_method, ContextMethod::kRing);
  EXPECT_EQ(Load("schedule: gpipe\n")->schedule, PipelineKind::kGpipe);
  EXPECT_EQ(Load("{}\n")->schedule, PipelineKind::k1f1b);
  EXPECT_EQ(Load("schedule: zero_bubble\n")->schedule, PipelineKind::kZeroBubble);
  EXPECT_EQ(Load("schedule: interleaved\nvirtual_stages: 2\n")->schedule,
            PipelineKind::kInterleaved);
  EXPECT_EQ(Load("schedule: dualpipev\nvirtual_stages: 2\n")->schedule,
            PipelineKind::kDualPipeV);
}

TEST(ParallelConfig, ContradictionsAreReportedAtTheirPlace) {
  EXPECT_EQ(LoadError("data: 6\nshard: 4\n"), "p.yaml:2:8: shard 4 does not divide data 6");
  EXPECT_THAT(LoadError("zero: 2\n"),
              HasSubstr("p.yaml:1:7: zero is 2, but shard 1 cuts nothing: set parallel.shard to a "
                        "divisor of data above 1, or zero to 0"));
  EXPECT_THAT(LoadError("shard: 2\nzero: 0\n"),
              HasSubstr("p.yaml:2:7: zero is 0, so shard 2 cuts nothing: set zero to 1, 2 or 3, or "
                        "shard to 1"));
  EXPECT_THAT(LoadError("schedule: interleaved\n"),
              HasSubstr("virtual_stages must be at least 2 for interleaved, got 1"));
  EXPECT_THAT(LoadError("virtual_stages: 2\n"),
              HasSubstr("must be 1 for 1f1b, got 2; interleaved takes more"));
  EXPECT_THAT(LoadError("schedule: dualpipev\n"), HasSubstr("must be 2 for dualpipev"));
  EXPECT_THAT(LoadError("schedule: dualpipev\nvirtual_stages: 4\n"), HasSubstr("got 4"));
  EXPECT_THAT(LoadError("layers_per_stage: [1, 2, 3]\npipeline: 2\n"),
              HasSubstr("p.yaml:1:1: layers_per_stage lists 3 stages, but pipeline 2 x "
                        "virtual_stages 1 = 2"));
  EXPECT_THAT(LoadError("layers_per_stage: [1, 0]\npipeline: 2\n"),
              HasSubstr("must be at least 1, got 0"));
  EXPECT_EQ(LoadError("auto_layout: true\ntensor: 2\nzero: 1\nshard: 2\n"),
            "p.yaml:1:14: auto_layout chooses the layout: leave out shard, zero, tensor");
  EXPECT_THAT(LoadError("auto_layout: true\n"
                        "data: 2\nexpert: 2\nexpert_tensor: 2\ncontext: 2\npipeline: 2\n"
                        "layers_per_stage: [6, 6]\n"),
              HasSubstr("leave out data, expert, expert_tensor, context, pipeline, "
                        "layers_per_stage"));
  EXPECT_EQ(LoadError("auto_layout: true\nexpert_chunks: 2\n"), "");
  EXPECT_THAT(LoadError("tensor: 40000\n"), HasSubstr("must be from 1 to 32768, got 40000"));
}

TEST(ResolveDegrees, FillsInWhatIsAuto) {
  EXPECT_EQ(Resolved("{}\n", 1), "data=1");
  EXPECT_EQ(Resolved("{}\n", 8), "data=8");
  EXPECT_EQ(Resolved("tensor: 2\npipeline: 2\n", 8), "data=2 pipeline=2 tensor=2");
  EXPECT_EQ(Resolved("shard: 2\nexpert: 4\nexpert_tensor: 2\n", 8),
            "data=8 shard=2 expert=4 expert_tensor=2");
  EXPECT_EQ(Resolved("data: 2\ncontext: 4\n", 8), "data=2 context=4");
  EXPECT_EQ(Resolved("layers_per_stage: [5, 7]\npipeline: 2\n", 2), "data=1 pipeline=2");
  const auto degrees = ResolveDegrees(*Load("shard: 4\n"), 8, Limits());
  EXPECT_EQ(*degrees, (Degrees{.replica = 2, .shard = 4}));
}

TEST(ResolveDegrees, ZeroFollowsShard) {
  EXPECT_EQ(ZeroStage({}, {.replica = 4}), 0);
  EXPECT_EQ(ZeroStage({}, {.replica = 2, .shard = 2}), 1);
  EXPECT_EQ(ZeroStage({.zero = 3}, {.shard = 2}), 3);
  EXPECT_EQ(Resolved("shard: 8\nzero: 3\n", 8), "data=8 shard=8");
  EXPECT_EQ(Resolved("shard: 2\nzero: 2\npipeline: 4\n", 8), "data=2 shard=2 pipeline=4");
}

TEST(ResolveDegrees, QuotesTheEquationAndTheNearestLayouts) {
  EXPECT_EQ(Resolved("pipeline: 2\ndata: 3\ntensor: 2\n", 8),
            "parallel.data does not fit: pipeline 2 x data 3 x context 1 x tensor 2 = 12, but the "
            "job has 8 ranks\n"
            "parallel.data 3 does not divide the 8 microbatches of a step\n"
            "nearest: data=2 pipeline=2 tensor=2; data=4 tensor=2; data=4 pipeline=2");
  EXPECT_EQ(Resolved("tensor: 3\n", 8),
            "parallel.pipeline 1 x context 1 x tensor 3 = 3 does not divide the job's 8 ranks\n"
            "nearest: data=2 tensor=4; data=4 tensor=2; data=1 tensor=8");
  EXPECT_EQ(Resolved("expert: 3\n", 4),
            "parallel.expert 3 x expert_tensor 1 = 3 does not divide data 4 x context 1 x tensor "
            "1 = 4\n"
            "nearest: data=4 expert=4; data=4 expert=2; data=4");
  EXPECT_THAT(Resolved("data: 2\n", 1), HasSubstr("but the job has 1 rank\n"));
}

TEST(ResolveDegrees, NearestLayoutsKeepTheRules) {
  ModelLimits limits = Limits();
  limits.microbatches = 1;
  limits.tokens = 1;
  limits.heads = 1;
  limits.layers = 5;
  EXPECT_EQ(Resolved("{}\n", 7, limits),
            "parallel.data 7 does not divide the 1 microbatches of a step\n"
            "no layout of 7 ranks keeps all rules for this model");
  limits.layers = 7;
  EXPECT_THAT(Resolved("{}\n", 7, limits), HasSubstr("\nnearest: data=1 pipeline=7"));
  // What has nothing to do with degrees gets no such advice.
  EXPECT_THAT(Resolved("node_size: 3\n", 8), Not(HasSubstr("nearest")));
  // ZeRO that cuts nothing: the advice has shards.
  const ParallelConfig config{.zero = 1};
  EXPECT_THAT(ResolveDegrees(config, 4, Limits()).status().message(),
              HasSubstr("nearest: data=4 shard=2; data=4 shard=4; "));
}

// Each rule, by its numbers; and the layout next to the rule is allowed.
TEST(ResolveDegrees, RefusesWithNumbers) {
  EXPECT_THAT(Resolved("pipeline: 16\n", 16),
              HasSubstr("parallel.pipeline 16 x virtual_stages 1 = 16 stages, but the model has 12 "
                        "layers"));
  EXPECT_EQ(Resolved("pipeline: 12\n", 12), "data=1 pipeline=12");
  EXPECT_THAT(Resolved("pipeline: 4\nschedule: interleaved\nvirtual_stages: 4\n", 4),
              HasSubstr("4 x virtual_stages 4 = 16 stages, but the model has 12"));
  EXPECT_EQ(Resolved("pipeline: 4\nschedule: interleaved\nvirtual_stages: 3\n", 4),
            "data=1 pipeline=4");
  EXPECT_THAT(Resolved("tensor: 16\n", 16),
              HasSubstr("parallel.tensor must be at most the model's heads, got 16 > 8"));
  EXPECT_THAT(Resolved("tensor: 16\n", 16), Not(HasSubstr("ulysses")));
  EXPECT_EQ(Resolved("tensor: 8\n", 8), "data=1 tensor=8");  // above kv_heads: empty pieces
  EXPECT_THAT(Resolved("data: 16\n", 16),
              HasSubstr("parallel.data 16 does not divide the 8 microbatches of a step"));
  EXPECT_THAT(Resolved("{}\n", 3), HasSubstr("parallel.data 3 does not divide the 8"));
  EXPECT_THAT(Resolved("context: 128\ncontext_method: ring\n", 128),
              HasSubstr("parallel.context must be at most the tokens of a sequence, got 128 > 64"));
  EXPECT_EQ(Resolved("context: 64\ncontext_method: ring\n", 64), "data=1 context=64");
  EXPECT_THAT(Resolved("context: 4\ntensor: 4\n", 16),
              HasSubstr("parallel.context 4 x tensor 4 = 16 ranks share the heads under ulysses, "
                        "but the model has 8"));
  EXPECT_EQ(Resolved("context: 4\ntensor: 4\ncontext_method: ring\n", 16),
            "data=1 context=4 tensor=4");
  EXPECT_EQ(Resolved("context: 4\ntensor: 2\n", 8), "data=1 context=4 tensor=2");
  EXPECT_THAT(Resolved("expert: 16\ntensor: 2\n", 16),
              HasSubstr("parallel.expert must be at most the model's experts, got 16 > 8"));
  EXPECT_THAT(
      Resolved("expert_tensor: 8\n", 8),
      HasSubstr("parallel.expert_tensor must be at most the width of an expert, got 8 > 4"));
  EXPECT_THAT(Resolved("expert: 4\nexpert_tensor: 4\n", 8),
              HasSubstr("parallel.expert 4 x expert_tensor 4 = 16 does not divide data 8 x context "
                        "1 x tensor 1 = 8"));
  EXPECT_THAT(Resolved("node_size: 3\n", 8),
              HasSubstr("parallel.node_size 3 does not divide the job's 8 ranks"));
  EXPECT_THAT(Resolved("layers_per_stage: [5, 5]\npipeline: 2\n", 2),
              HasSubstr("parallel.layers_per_stage adds up to 10 layers, but the model has 12"));
  EXPECT_THAT(
      Resolved("schedule: dualpipev\nvirtual_stages: 2\npipeline: 2\n", 8),
      HasSubstr("parallel.schedule dualpipev needs 2 x pipeline 2 = 4 microbatches on a rank, but "
                "8 / data 4 = 2"));
  EXPECT_EQ(Resolved("schedule: dualpipev\nvirtual_stages: 2\npipeline: 2\ntensor: 2\n", 8),
            "data=2 pipeline=2 tensor=2");
}

TEST(ResolveDegrees, NarrowAndDenseModels) {
  ModelLimits limits = Limits();
  limits.experts = 0;
  EXPECT_THAT(Resolved("expert: 2\n", 2, limits),
              HasSubstr("parallel.expert must be at most 1 in a model without experts, got 2 > 1"));
  EXPECT_THAT(Resolved("expert_tensor: 2\n", 2, limits),
              HasSubstr("parallel.expert_tensor must be at most 1 in a model without experts"));
  limits.hidden = 3;
  limits.ffn = 2;
  limits.vocab = 3;
  const std::string message = Resolved("tensor: 4\n", 4, limits);
  EXPECT_THAT(message, HasSubstr("at most the model's hidden width, got 4 > 3"));
  EXPECT_THAT(message, HasSubstr("at most the model's feed-forward width, got 4 > 2"));
  EXPECT_THAT(message, HasSubstr("at most the model's vocabulary, got 4 > 3"));
  EXPECT_THAT(message, HasSubstr("\nnearest: data=2 tensor=2"));
  limits.ffn = 0;
  EXPECT_EQ(Resolved("tensor: 3\n", 3, limits), "data=1 tensor=3");
}

// A config that did not come through Load has its own contradictions reported too.
TEST(ResolveDegrees, AllErrorsAtOnce) {
  ParallelConfig config;
  config.data = 3;
  config.shard = 2;
  config.zero = 0;
  config.tensor = 16;
  config.expert = 9;
  config.schedule = PipelineKind::kInterleaved;
  config.layers_per_stage = {1, 2};
  config.node_size = 5;
  const auto degrees = ResolveDegrees(config, 8, Limits());
  ASSERT_EQ(degrees.status().code(), absl::StatusCode::kInvalidArgument);
  const std::string message(degrees.status().message());
  for (const char* part :
       {"parallel.data does not fit", "parallel.data 3 does not divide", "parallel.tensor must",
        "parallel.layers_per_stage lists 2 stages", "parallel.shard 2 does not divide data 3",
        "parallel.zero is 0", "parallel.expert must", "parallel.expert 9 x",
        "parallel.virtual_stages", "parallel.layers_per_stage adds up", "parallel.node_size 5"}) {
    EXPECT_THAT(message, HasSubstr(part));
  }
  EXPECT_THAT(message, HasSubstr("\nnearest: "));
}

TEST(ResolveDegreesDeathTest, IsNotForAutoLayout) {
  EXPECT_DEATH(static_cast<void>(ResolveDegrees({.auto_layout = true}, 2, Limits())),
               "auto_layout");
}

}  // namespace
}  // namespace choir
