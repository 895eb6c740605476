#include "optim/precision.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "optim/loss_scale.h"

namespace choir {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const Shape kMatrix{64, 32}, kVector{64};

PrecisionConfig Recipe(PrecisionRecipe recipe) {
  PrecisionConfig config;
  config.recipe = recipe;
  return config;
}

ParameterPrecision Of(const PrecisionConfig& config, const std::string& name, bool tied = false) {
  return ResolvePrecision(config, name, name.ends_with("norm") ? kVector : kMatrix, tied);
}

TEST(PrecisionTest, EveryNameHasItsClass) {
  const std::map<std::string, std::string> classes = {
      {"embedding", "embedding"},
      {"head", "head"},
      {"final_norm", "norm"},
      {"layers.0.attention.q_norm", "norm"},
      {"layers.0.attention.qkv", "attention"},
      {"layers.0.ffn.down", "ffn"},
      {"layers.1.moe.router", "router"},
      {"layers.1.moe.experts.gate_up", "experts"},
      {"layers.1.moe.shared.down", "shared experts"}};
  for (const auto& [name, kind] : classes) EXPECT_EQ(TensorClass(name), kind) << name;
}

TEST(PrecisionTest, NormsAndRouterAreHighInEveryRecipe) {
  for (const auto& entry : EnumNames<PrecisionRecipe>::kAll) {
    const PrecisionConfig config = Recipe(entry.value);
    for (const char* name : {"final_norm", "layers.1.moe.router"}) {
      EXPECT_EQ(Of(config, name), ParameterPrecision()) << entry.name << " " << name;
    }
  }
}

TEST(PrecisionTest, Fp8BlockKeepsEmbeddingAndHeadHigh) {
  const PrecisionConfig config = Recipe(PrecisionRecipe::kFp8Block);
  const ParameterPrecision experts = Of(config, "layers.1.moe.experts.down");
  EXPECT_EQ(experts.matmul.format, MatmulFormat::kFp8Block);
  EXPECT_FALSE(experts.matmul.square_gradient_blocks);
  EXPECT_EQ(experts.storage, DType::kBF16);
  EXPECT_TRUE(experts.master);
  EXPECT_EQ(experts.moments, MomentFormat::kBF16);
  EXPECT_EQ(Of(config, "head").matmul.format, MatmulFormat::kBF16);
  EXPECT_EQ(Of(config, "embedding").matmul.format, MatmulFormat::kFull);
  EXPECT_EQ(Of(config, "embedding", /*tied=*/true).matmul.format, MatmulFormat::kBF16);
}

TEST(PrecisionTest, LeanHasNoMaster) {
  const ParameterPrecision p = Of(Recipe(PrecisionRecipe::kBf16Lean), "layers.0.ffn.down");
  EXPECT_EQ(p.storage, DType::kBF16);
  EXPECT_FALSE(p.master);
}

TEST(PrecisionTest, BF16ParametersOfAnotherRecipeHaveAMaster) {
  PrecisionConfig config = Recipe(PrecisionRecipe::kFp32);
  config.parameters = ValueFormat::kBf16;
  EXPECT_TRUE(Of(config, "layers.0.ffn.down").master);
  config.master = false;
  EXPECT_FALSE(Of(config, "layers.0.ffn.down").master);
}

TEST(PrecisionTest, TheFirstExceptionThatMatchesCounts) {
  PrecisionConfig config = Recipe(PrecisionRecipe::kFp8Block);
  PrecisionException first{"layers.0.*", MatmulFormat::kBF16, {}, {}, MomentFormat::kF32};
  PrecisionException second{"layers.*", MatmulFormat::kFull, ValueFormat::kFp32, {}, {}};
  config.exceptions = {first, second};
  EXPECT_EQ(Of(config, "layers.0.ffn.down").matmul.format, MatmulFormat::kBF16);
  EXPECT_EQ(Of(config, "layers.0.ffn.down").moments, MomentFormat::kF32);
  EXPECT_EQ(Of(config, "layers.0.ffn.down").storage, DType::kBF16);
  EXPECT_EQ(Of(config, "layers.1.ffn.down").matmul.format, MatmulFormat::kFull);
  EXPECT_EQ(Of(config, "layers.1.ffn.down").storage, DType::kF32);
  EXPECT_FALSE(Of(config, "layers.1.ffn.down").master);
}

TEST(PrecisionTest, TheTableAddsUpClassesAndShowsExceptions) {
  PrecisionConfig config = Recipe(PrecisionRecipe::kFp8Block);
  config.exceptions = {{"layers.1.*", MatmulFormat::kBF16, {}, {}, {}}};
  const std::string table = PrecisionTable(config,
                                           {{"embedding", kMatrix},
                                            {"layers.0.ffn.down", kMatrix},
                                            {"layers.1.ffn.down", kMatrix},
                                            {"layers.2.ffn.down", kMatrix},
                                            {"final_norm", kVector},
                                            {"head", kMatrix}},
                                           /*tied=*/false);
  EXPECT_THAT(table, HasSubstr("precision fp8-block: activations bf16"));
  EXPECT_THAT(table, HasSubstr("ffn                       4096  fp8-block  bf16"));
  EXPECT_THAT(table, HasSubstr("ffn                       2048  bf16       bf16"));
  EXPECT_THAT(table, HasSubstr("norm                        64  -          fp32"));
  EXPECT_THAT(table, Not(HasSubstr("loss scale")));
}

absl::StatusOr<PrecisionConfig> Load(const std::string& yaml) {
  auto tree = ConfigTree::ParseString(yaml, "test.yaml");
  if (!tree.ok()) return tree.status();
  return LoadConfig<PrecisionConfig>(*tree);
}

TEST(PrecisionTest, RefusesWhatFails) {
  const std::map<std::string, std::string> wrong = {
      {"recipe: fp8-block\nsquare_gradient_blocks: true\n", "diverges"},
      {"recipe: bf16\nsquare_gradient_blocks: true\n", "is for fp8-block products"},
      {"recipe: bf16-lean\nstochastic_rounding: false\n", "updates below half a unit"},
      {"head: fp8-block\n", "the head is kept high"},
      {"recipe: fp32\nmaster: true\n", "is for bf16 parameters"},
      {"parameters: fp16\n", "must be fp32 or bf16"},
      {"wire: fp16\n", "must be fp32 or bf16"},
      {"exceptions: [{pattern: '*', matmul: mxfp8}]\n", "takes in the head"}};
  for (const auto& [yaml, message] : wrong) {
    const auto config = Load(yaml);
    ASSERT_FALSE(config.ok()) << yaml;
    EXPECT_THAT(std::string(config.status().message()), HasSubstr(message)) << yaml;
    EXPECT_THAT(std::string(config.status().message()), HasSubstr("test.yaml:")) << yaml;
  }
  EXPECT_TRUE(Load("recipe: fp8-block\nsquare_gradient_blocks: true\nforce: true\n").ok());
  EXPECT_EQ(ForgottenFields<PrecisionConfig>(), "");
}

TEST(LossScaleTest, GrowsAfterGoodStepsAndBacksOff) {
  PrecisionConfig config = Recipe(PrecisionRecipe::kFp16);
  config.loss_scale.growth_interval = 3;
  LossScale s = StartLossScale(config);
  EXPECT_EQ(s.scale, 65536);
  for (int i = 0; i < 3; ++i) s = NextLossScale(config, s, false);
  EXPECT_EQ(s, (LossScale{131072, 0, 0}));
  s = NextLossScale(config, s, false);
  s = NextLossScale(config, s, true);
  EXPECT_EQ(s, (LossScale{65536, 0, 1})) << "one good step is forgotten";
}

TEST(LossScaleTest, AtTheMinimumARunCannotGoOn) {
  PrecisionConfig config = Recipe(PrecisionRecipe::kFp16);
  config.loss_scale.initial = 2;
  LossScale s = StartLossScale(config);
  EXPECT_TRUE(MaySkip(config, s));
  s = NextLossScale(config, s, true);
  EXPECT_EQ(s.scale, 1);
  EXPECT_FALSE(MaySkip(config, s));
}

TEST(LossScaleTest, OtherRecipesScaleNothing) {
  const PrecisionConfig config = Recipe(PrecisionRecipe::kBf16);
  const LossScale s = StartLossScale(config);
  EXPECT_EQ(s.scale, 1);
  EXPECT_FALSE(MaySkip(config, s));
  EXPECT_EQ(NextLossScale(config, s, true), s);
}

}  // namespace
}  // namespace choir
