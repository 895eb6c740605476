#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/config_fields.h"

namespace choir {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<ModelConfig> Load(const std::string& text) {
  const auto tree = ConfigTree::ParseString(text, "model.yaml");
  if (!tree.ok()) return tree.status();
  return LoadConfig<ModelConfig>(*tree);
}

// The one message that `text` gives.
std::string OnlyError(const std::string& text) {
  const auto config = Load(text);
  if (config.ok()) return "no error";
  const std::string message(config.status().message());
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  return message;
}

TEST(ModelConfig, VisitsEveryField) { EXPECT_EQ(ForgottenFields<ModelConfig>(), ""); }

TEST(ModelConfig, ContradictionsAreReportedAtTheirPlace) {
  const std::string dense = "ffn: 64\n", moe = "moe: {experts: 8, width: 16, ";
  EXPECT_THAT(OnlyError(dense + "hidden: 30\nheads: 4\n"),
              HasSubstr("model.yaml:2:9: hidden must be a multiple of heads"));
  EXPECT_THAT(OnlyError(dense + "hidden: 60\nheads: 12\n"), HasSubstr("odd width 5"));
  EXPECT_THAT(OnlyError(dense + "heads: 4\nkv_heads: 3\n"),
              HasSubstr("must divide heads, got 4 / 3"));
  EXPECT_THAT(OnlyError(dense + "rotary: {dims: 18}\n"),
              HasSubstr("must be at most the head's width, got 18 > 16"));
  EXPECT_THAT(OnlyError(dense + "rotary: {yarn: {beta_fast: 1, beta_slow: 2}}\n"),
              HasSubstr("must not exceed beta_fast, got 2 > 1"));
  EXPECT_THAT(OnlyError("layers: 3\n"), HasSubstr("ffn must be given: the first layer is dense"));
  EXPECT_THAT(OnlyError(moe + "dense_layers: 1}\n"), HasSubstr("ffn must be given"));
  EXPECT_THAT(OnlyError(dense + moe + "dense_layers: 3}\n"),
              HasSubstr("must be at most layers, got 3 of 2"));
  EXPECT_THAT(Load(moe + "top_k: 9}\n").status().message(),
              HasSubstr("must be at most experts, got 9 of 8"));
  EXPECT_THAT(OnlyError(moe + "groups: 3}\n"), HasSubstr("must divide experts, got 8 / 3"));
  EXPECT_THAT(OnlyError(moe + "groups: 2, group_limit: 3}\n"),
              HasSubstr("must be at most groups, got 3 of 2"));
  EXPECT_THAT(OnlyError(moe + "groups: 4, top_k: 3}\n"),
              HasSubstr("needs 3 experts, but 1 groups have 2"));
  EXPECT_THAT(OnlyError("moe: {experts: 8}\n"),
              HasSubstr("moe.width must be given when there are experts"));
}

TEST(ModelConfig, AllErrorsAtOnce) {
  const auto config = Load("ffn: 64\nhiden: 32\nlayers: 0\nnorm_eps: x\nheads: 4\nkv_heads: 3\n");
  ASSERT_FALSE(config.ok());
  const std::string message(config.status().message());
  EXPECT_THAT(message, HasSubstr("model.yaml:2:"));
  EXPECT_THAT(message, HasSubstr("hidden"));  // did you mean
  EXPECT_THAT(message, HasSubstr("model.yaml:3:"));
  EXPECT_THAT(message, HasSubstr("model.yaml:4:"));
  EXPECT_THAT(message, HasSubstr("model.yaml:6:"));
}

TEST(ModelConfig, AutoValuesAndOptionsForOps) {
  const ModelConfig config =
      Load(
          "hidden: 96\nheads: 6\nffn: 64\nlayers: 3\n"
          "rotary: {base: 500, style: adjacent, dims: 8, yarn: {factor: 4, original_length: 128}}\n"
          "moe: {experts: 8, width: 16, top_k: 3, dense_layers: 2, groups: 4, group_limit: 2,"
          " score: softmax, normalize: false, route_scale: 2.5}\n")
          .value();
  EXPECT_EQ(config.NumKvHeads(), 6);
  EXPECT_EQ(config.HeadDim(), 16);
  EXPECT_FALSE(config.IsMoeLayer(1));
  EXPECT_TRUE(config.IsMoeLayer(2));
  const RotaryOptions rotary = config.Rotary();
  EXPECT_EQ(rotary.base, 500);
  EXPECT_EQ(rotary.dims, 8);
  EXPECT_EQ(rotary.style, RotaryStyle::kAdjacentPairs);
  EXPECT_EQ(rotary.yarn->factor, 4);
  EXPECT_EQ(rotary.yarn->original_length, 128);
  EXPECT_FALSE(rotary.yarn->mscale.has_value());
  const RouterOptions router = config.Router();
  EXPECT_EQ(router.experts, 8);
  EXPECT_EQ(router.top_k, 3);
  EXPECT_EQ(router.groups, 4);
  EXPECT_EQ(router.group_limit, 2);
  EXPECT_EQ(router.score, ScoreFunction::kSoftmax);
  EXPECT_FALSE(router.normalize);
  EXPECT_EQ(router.route_scale, 2.5);
}

}  // namespace
}  // namespace choir
