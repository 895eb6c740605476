// `choir generate` on a run that was trained a moment ago.
#include <gtest/gtest.h>

#include "tests/train/run_fixture.h"

namespace choir::train_test {
namespace {

const std::string& TrainedRun() {
  static const std::string run = [] {
    const std::string path = FreshPath("trained");
    const ProcessResult result = Choir(TrainArgs("moe-tiny", path, {"--train.steps=10"}));
    EXPECT_EQ(result.exit, 0) << result.err;
    return path;
  }();
  return run;
}

std::string Text(std::vector<std::string> more) {
  more.insert(more.begin(), {"generate", TrainedRun(), "--prompt", "The "});
  const ProcessResult result = Choir(more);
  EXPECT_EQ(result.exit, 0) << result.err;
  EXPECT_EQ(result.out.rfind("The ", 0), 0u) << result.out;
  return result.out;
}

TEST(GenerateTest, TheSeedDecides) {
  const std::string text = Text({"--seed=3", "--max-tokens=40"});
  EXPECT_GT(text.size(), 5u);
  EXPECT_EQ(Text({"--seed=3", "--max-tokens=40"}), text);
  EXPECT_NE(Text({"--seed=4", "--max-tokens=40"}), text);
}

TEST(GenerateTest, TheLikeliestTokenNeedsNoSeed) {
  const std::string text = Text({"--seed=3", "--max-tokens=20", "--temperature=0"});
  EXPECT_EQ(Text({"--seed=4", "--max-tokens=20", "--temperature=0"}), text);
  EXPECT_EQ(Text({"--seed=5", "--max-tokens=20", "--top-p=0"}), text);
}

TEST(GenerateTest, NoNewTokensGiveThePrompt) { EXPECT_EQ(Text({"--max-tokens=0"}), "The \n"); }

TEST(GenerateTest, AFolderWithoutARunIsNamed) {
  const std::string folder = FreshPath("empty");
  Write(folder + "/note", "nothing");
  const ProcessResult result = Choir({"generate", folder, "--prompt", "a"});
  EXPECT_EQ(result.exit, 2);
  EXPECT_NE(result.err.find(folder), std::string::npos) << result.err;
  EXPECT_EQ(result.out, "");
}

TEST(CheckpointCommandTest, ListShowVerifyDiff) {
  const ProcessResult list = Choir({"checkpoint", "list", TrainedRun(), "--json"});
  EXPECT_EQ(list.exit, 0) << list.err;
  EXPECT_TRUE(nlohmann::json::accept(list.out)) << list.out;
  const std::string folder = TrainedRun() + "/checkpoints/step-0000000010";
  const ProcessResult show = Choir({"checkpoint", "show", folder});
  EXPECT_EQ(show.exit, 0) << show.err;
  EXPECT_NE(show.out.find("model/"), std::string::npos);
  EXPECT_EQ(Choir({"checkpoint", "verify", folder}).exit, 0);
  const ProcessResult same = Choir({"checkpoint", "diff", folder, folder});
  EXPECT_EQ(same.exit, 0) << same.err;
  EXPECT_NE(same.out.find("no difference"), std::string::npos) << same.out;
  EXPECT_EQ(Choir({"checkpoint", "diff", folder, folder + "-missing"}).exit, 2);
}

}  // namespace
}  // namespace choir::train_test
