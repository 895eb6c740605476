// The configs that come with the sources, and the page about their keys.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/config.h"
#include "base/strings.h"
#include "data/build/build_config.h"
#include "model/counts.h"
#include "tests/train/run_fixture.h"
#include "train/config.h"

namespace choir::train_test {
namespace {

TEST(ConfigsTest, EveryOneLoads) {
  const std::string folder = StrCat(CHOIR_SOURCE_DIR, "/configs");
  int count = 0;
  for (const std::string& name : Names(folder)) {
    if (!name.ends_with(".yaml")) continue;
    const std::string text = Read(folder + "/" + name);
    const auto tree = ConfigTree::ParseString(text, name);
    ASSERT_TRUE(tree.ok()) << tree.status();
    const auto config = LoadConfig<RunConfig>(*tree, {.check_paths = false});
    EXPECT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(text.rfind("# ", 0), 0u) << name << " says what it is for";
    ++count;
  }
  EXPECT_GE(count, 5);
  for (const std::string& name : Names(folder + "/data")) {
    const auto tree = ConfigTree::ParseFile(folder + "/data/" + name);
    ASSERT_TRUE(tree.ok()) << tree.status();
    const auto config = LoadConfig<DataBuildConfig>(*tree, {.check_paths = false});
    EXPECT_TRUE(config.ok()) << config.status();
  }
}

RunConfig Load(const std::string& name) {
  const auto tree = ConfigTree::ParseFile(ConfigPath(name));
  EXPECT_TRUE(tree.ok()) << tree.status();
  const auto config = LoadConfig<RunConfig>(*tree, {.check_paths = false});
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}

// What other tests, here and later, expect of the awkward one.
TEST(ConfigsTest, MoeTinyIsAwkward) {
  const ModelConfig model = Load("moe-tiny").model;
  EXPECT_NE(*model.vocab_size % 4, 0);
  EXPECT_NE(model.heads % 4, 0);
  EXPECT_LT(model.NumKvHeads(), model.heads);
  EXPECT_TRUE(model.tie_embeddings);
  EXPECT_GT(model.moe.shared_experts, 0);
  EXPECT_GT(model.moe.bias_speed, 0);
  EXPECT_GT(model.moe.sequence_loss, 0);
  EXPECT_TRUE(Load("moe-tiny").data.packing.document_masks);
}

TEST(ConfigsTest, Moe256x32HasThePublishedShape) {
  const MoeConfig moe = Load("moe-256x32").model.moe;
  EXPECT_EQ(moe.experts, 256);
  EXPECT_EQ(moe.top_k, 32);
  EXPECT_EQ(moe.shared_experts, 1);
  EXPECT_GT(moe.groups, 1);
  EXPECT_EQ(moe.score, ScoreFunction::kSigmoid);
}

TEST(ConfigsTest, DenseGptHasTenToTwentyMillionParameters) {
  const ParameterCounts counts = CountParameters(Load("dense-gpt").model, 8192);
  EXPECT_GE(counts.total, 10'000'000);
  EXPECT_LE(counts.total, 20'000'000);
}

TEST(ConfigCommandTest, DocsAreThePage) {
  const ProcessResult result = Choir({"config", "docs"});
  EXPECT_EQ(result.exit, 0);
  const std::string page = StrCat(CHOIR_SOURCE_DIR, "/docs/config.md");
  ASSERT_TRUE(Exists(page)) << "make it: choir config docs > docs/config.md";
  EXPECT_TRUE(Read(page) == result.out)
      << "docs/config.md is out of date: choir config docs > docs/config.md";
}

TEST(ConfigCommandTest, ShowLoadsBack) {
  const std::vector<std::string> more = {"--run.dir=x", "--data.path=" + TinyData()};
  const ProcessResult shown = Choir({"config", "show", ConfigPath("moe-tiny"), more[0], more[1]});
  ASSERT_EQ(shown.exit, 0) << shown.err;
  const std::string copy = FreshPath("copy") + ".yaml";
  Write(copy, shown.out);
  const ProcessResult again = Choir({"config", "show", copy});
  EXPECT_EQ(again.exit, 0) << again.err;
  EXPECT_EQ(again.out, shown.out);

  const std::string other = FreshPath("other") + ".yaml";
  const ProcessResult changed =
      Choir({"config", "show", copy, "--optim.lr=0.5", "--model.moe.top_k=2"});
  Write(other, changed.out);
  const ProcessResult diff = Choir({"config", "diff", copy, other});
  EXPECT_EQ(diff.exit, 0) << diff.err;
  EXPECT_EQ(diff.out, "model.moe.top_k: 3 -> 2\noptim.lr: 0.003 -> 0.5\n");
}

}  // namespace
}  // namespace choir::train_test
