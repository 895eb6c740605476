// The language of train.recompute.
#include "train/recompute_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/train/run_fixture.h"
#include "train/config.h"
#include "train/recompute.h"

namespace choir {
namespace {

using enum TensorPolicy;

TensorPolicy Of(const std::vector<std::string>& entries, std::string_view tag, int layer) {
  RecomputeRules parsed = ParseRecompute(entries);
  EXPECT_TRUE(parsed.errors.empty()) << parsed.errors[0].message;
  const RecomputePolicy policy = MakeRecomputePolicy(std::move(parsed.rules));
  return policy == nullptr ? kDefault : policy(tag, layer);
}

TEST(RecomputeRules, ActionsAndTheLastRuleHold) {
  EXPECT_EQ(Of({}, "norm", 0), kDefault);
  EXPECT_EQ(Of({"norm"}, "norm", 0), kRecompute);
  EXPECT_EQ(Of({"norm"}, "norm", -1), kRecompute) << "no layers: outside of them too";
  EXPECT_EQ(Of({"norm"}, "norms", 0), kDefault);
  EXPECT_EQ(Of({"*", "!residual*"}, "residual.mid", 3), kKeep);
  EXPECT_EQ(Of({"!residual*", "*"}, "residual", 3), kRecompute);
  EXPECT_EQ(Of({"*=offload", "norm=bf16", "swiglu=e4m3", "norm@2=e5m2"}, "norm", 2), kE5M2);
  EXPECT_EQ(Of({"*=offload", "norm=bf16", "swiglu=e4m3", "norm@2=e5m2"}, "norm", 1), kBF16);
  EXPECT_EQ(Of({"*=offload", "norm=bf16", "swiglu=e4m3"}, "swiglu", 1), kE4M3);
  EXPECT_EQ(Of({"*=offload", "norm=keep"}, "attention", 1), kOffload);
}

TEST(RecomputeRules, Layers) {
  const std::vector<std::string> entries = {"norm@0-2,5,20-"};
  for (const int layer : {0, 2, 5, 20, 1000}) EXPECT_EQ(Of(entries, "norm", layer), kRecompute);
  for (const int layer : {-1, 3, 4, 6, 19}) EXPECT_EQ(Of(entries, "norm", layer), kDefault);
}

TEST(RecomputeRules, Names) {
  EXPECT_EQ(Of({"full"}, "attention.qkv", 0), kRecompute);
  EXPECT_EQ(Of({"full"}, "residual.mid", 0), kRecompute);
  EXPECT_EQ(Of({"full"}, "residual", 0), kKeep);
  EXPECT_EQ(Of({"full"}, "loss.dh", -1), kDefault);
  EXPECT_EQ(Of({"full", "none"}, "attention", 0), kDefault);
  EXPECT_EQ(Of({"full", "attention=keep"}, "attention", 0), kKeep);
  EXPECT_EQ(Of({"selective"}, "norm", 4), kRecompute);
  EXPECT_EQ(Of({"selective"}, "residual", 4), kDefault);
}

TEST(RecomputeRules, Budgets) {
  EXPECT_EQ(ParseRecompute({"budget=12GiB"}).budget->bytes, int64_t{12} << 30);
  EXPECT_EQ(ParseRecompute({"budget=1.5MiB", "!norm"}).budget->bytes, 3 << 19);
  EXPECT_FALSE(ParseRecompute({"budget=auto"}).budget->bytes.has_value());
  EXPECT_FALSE(ParseRecompute({"norm"}).budget.has_value());
}

std::string ErrorOf(const std::string& entry) {
  const RecomputeRules parsed = ParseRecompute({"norm", entry});
  if (parsed.errors.size() != 1) return StrCat(parsed.errors.size(), " errors");
  EXPECT_EQ(parsed.errors[0].entry, 1u);
  return parsed.errors[0].message;
}

TEST(RecomputeRules, SaysWhatIsWrong) {
  EXPECT_THAT(ErrorOf("norm=drop"), testing::HasSubstr("'drop' is no action; there are keep, rec"));
  EXPECT_THAT(ErrorOf("norm="), testing::HasSubstr("'' is no action"));
  EXPECT_THAT(ErrorOf("!norm=keep"), testing::HasSubstr("both '!' (keep) and an action"));
  EXPECT_THAT(ErrorOf(""), testing::HasSubstr("has no tag"));
  EXPECT_THAT(ErrorOf("@3"), testing::HasSubstr("has no tag"));
  EXPECT_THAT(ErrorOf("norm, swiglu"), testing::HasSubstr("is no tag"));
  for (const char* layers : {"x", "", "3-2", "-4", "1,", "1-2-3", "99999999999"}) {
    EXPECT_THAT(ErrorOf(StrCat("norm@", layers)), testing::HasSubstr("are no layers")) << layers;
  }
  EXPECT_THAT(ErrorOf("budget=3GiB"), testing::HasSubstr("a budget is the first entry"));
  for (const char* size : {"3", "GiB", "3GB", "-3GiB", "0GiB", "nanGiB", "1e99TiB"}) {
    const RecomputeRules parsed = ParseRecompute({StrCat("budget=", size)});
    ASSERT_EQ(parsed.errors.size(), 1u) << size;
    EXPECT_THAT(parsed.errors[0].message, testing::HasSubstr("is no budget")) << size;
  }
}

absl::StatusOr<RunConfig> Load(std::vector<std::string> more) {
  more.push_back("--data.path=" + train_test::TinyData());
  return LoadConfigFile<RunConfig>(train_test::ConfigPath("moe-tiny"), more);
}

TEST(RecomputeConfig, TakesOneWordOrAList) {
  const auto one = Load({"--train.recompute=full"});
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ(one->train.recompute, std::vector<std::string>{"full"});
  const auto list = Load({"--train.recompute=[selective, \"norm@0-1,3=bf16\"]"});
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_EQ(list->train.recompute, (std::vector<std::string>{"selective", "norm@0-1,3=bf16"}));
}

TEST(RecomputeConfig, ReportsAllErrorsAtTheirPlaces) {
  const auto bad = Load({"--train.recompute=[norm=x, \"swiglu@y\"]", "--train.steps=0"});
  const std::string text(bad.status().message());
  EXPECT_THAT(text, testing::HasSubstr("argument:1: train.recompute[0] 'x' is no action"));
  EXPECT_THAT(text, testing::HasSubstr("argument:1: train.recompute[1] 'y' are no layers"));
  EXPECT_THAT(text, testing::HasSubstr("train.steps must be at least 1"));
  const auto one = Load({"--train.recompute=norm=x"});
  EXPECT_THAT(std::string(one.status().message()),
              testing::HasSubstr("argument:1: train.recompute 'x' is no action"));
}

TEST(RecomputeConfig, InvariantNumericsTakeWhatAllLayoutsRoundAlike) {
  for (const char* rule : {"norm=bf16", "*=bf16", "swiglu=e4m3", "swiglu@1-=e5m2"}) {
    const auto bad = Load({StrCat("--train.recompute=\"", rule, "\""), "--numerics=invariant"});
    EXPECT_THAT(std::string(bad.status().message()),
                testing::HasSubstr("there bf16 is for attention.qkv, ffn.gate_up, swiglu"));
    EXPECT_TRUE(Load({StrCat("--train.recompute=\"", rule, "\"")}).ok());
  }
  EXPECT_TRUE(Load({"--train.recompute=[full, \"swiglu@1-=bf16\"]", "--numerics=invariant"}).ok());
}

TEST(RecomputeConfig, RulesMustFitTheModel) {
  auto config = Load({"--train.recompute=[selective, nrom, norm@7-, \"moe.to_nodes\"]"});
  ASSERT_TRUE(config.ok()) << config.status();
  config->model.vocab_size = 300;
  const std::string text(CheckRecompute(*config).message());
  EXPECT_THAT(text, testing::HasSubstr("train.recompute[1]: 'nrom' matches no result of this model;"
                                       " there are: add attention attention.lse"));
  EXPECT_THAT(text,
              testing::HasSubstr("\ntrain.recompute[2]: layer 7 is asked for, but the model"));
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("[3]"))) << "a config is for any layout";
  config->train.recompute = {"full", "residual@0=offload", "moe.*=bf16", "attention.lse"};
  EXPECT_TRUE(CheckRecompute(*config).ok()) << CheckRecompute(*config);
}

TEST(RecomputeConfig, SaysWhichResultsAreRounded) {
  RunConfig config;
  config.train.recompute = {"full", "norm=bf16", "swiglu@0=e4m3", "attention=offload"};
  EXPECT_THAT(CompressionNote(config),
              testing::HasSubstr("changes gradients: norm (bf16), swiglu (e4m3)"));
  config.train.recompute = {"full", "attention=offload"};
  EXPECT_EQ(CompressionNote(config), "");
}

}  // namespace
}  // namespace choir
