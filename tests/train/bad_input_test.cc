// Bad input ends with exit state 2, says everything that is wrong, and creates nothing.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/strings.h"
#include "tests/train/run_fixture.h"

namespace choir::train_test {
namespace {

TEST(BadInputTest, FiveMistakesAreAllPrintedWithTheirPlaces) {
  const std::string folder = FreshPath("bad");
  const std::string config = folder + "/bad.yaml";
  Write(config,
        "run:\n"
        "  dir: out\n"
        "train:\n"
        "  steps: 10\n"
        "  sede: 3\n"  // unknown key
        "model:\n"
        "  layers: many\n"  // wrong type
        "  hidden: 60\n"    // contradicts heads
        "  heads: 7\n"
        "  ffn: 64\n"
        "data:\n"
        "  path: no/such/folder\n"  // missing file
        "optim:\n"
        "  lr: -1\n");  // out of range
  const auto before = Snapshot(folder);
  const ProcessResult result = Choir({"train", config}, {.directory = folder});
  EXPECT_EQ(result.exit, 2);
  EXPECT_EQ(result.out, "");
  const std::vector<std::pair<int, std::string>> mistakes = {
      {5, "sede"}, {7, "model.layers"}, {8, "model.hidden"}, {12, "data.path"}, {14, "optim.lr"}};
  for (const auto& [line, key] : mistakes) {
    const size_t at = result.err.find(StrCat(config, ":", line, ":"));
    ASSERT_NE(at, std::string::npos) << key << "\n" << result.err;
    EXPECT_NE(result.err.substr(at, result.err.find('\n', at) - at).find(key), std::string::npos)
        << result.err;
  }
  EXPECT_NE(result.err.find("did you mean"), std::string::npos) << result.err;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 5) << result.err;
  EXPECT_EQ(Snapshot(folder), before);
  EXPECT_EQ(Names(folder), std::vector<std::string>{"bad.yaml"});
}

TEST(BadInputTest, OverridesAreNamedByTheirNumber) {
  const std::string run = FreshPath("bad");
  const ProcessResult result =
      Choir({"train", ConfigPath("tiny"), "--run.dir=" + run, "--data.path=" + TinyData(),
             "--optim.lr=fast", "--optim.clip_nrom=1"});
  EXPECT_EQ(result.exit, 2);
  EXPECT_NE(result.err.find("argument:5: "), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("argument:6: "), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("clip_norm"), std::string::npos) << result.err;
  EXPECT_FALSE(Exists(run));
}

TEST(BadInputTest, RulesBetweenSections) {
  const std::string run = FreshPath("bad");
  const ProcessResult result =
      Choir(TrainArgs("tiny", run,
                      {"--train.microbatch_sequences=9", "--optim.schedule.warmup_steps=61",
                       "--train.batch_ramp.steps=5", "--train.batch_ramp.start_sequences=9"}));
  EXPECT_EQ(result.exit, 2);
  for (const char* key : {"train.microbatch_sequences", "optim.schedule.warmup_steps",
                          "train.batch_ramp.start_sequences"}) {
    EXPECT_NE(result.err.find(key), std::string::npos) << key << "\n" << result.err;
  }
  EXPECT_FALSE(Exists(run));
}

TEST(BadInputTest, DataThatDoNotFit) {
  const std::string run = FreshPath("bad");
  const std::string empty = FreshPath("empty");
  Write(empty + "/readme", "no shards here");
  const ProcessResult no_shards =
      Choir({"train", ConfigPath("tiny"), "--run.dir=" + run, "--data.path=" + empty});
  EXPECT_EQ(no_shards.exit, 2) << no_shards.err;
  EXPECT_NE(no_shards.err.find(empty), std::string::npos) << no_shards.err;

  const ProcessResult vocabulary = Choir(TrainArgs("tiny", run, {"--model.vocab_size=1000"}));
  EXPECT_EQ(vocabulary.exit, 2) << vocabulary.err;
  EXPECT_NE(vocabulary.err.find("model.vocab_size 1000"), std::string::npos) << vocabulary.err;
  EXPECT_NE(vocabulary.err.find("1024"), std::string::npos) << vocabulary.err;
  EXPECT_FALSE(Exists(run));
}

TEST(BadInputTest, CommandLine) {
  const std::vector<std::vector<std::string>> lines = {
      {},
      {"trian"},
      {"train"},
      {"train", ConfigPath("tiny"), "more"},
      {"train", ConfigPath("tiny"), "--resmue"},
      {"train", "no/such/config.yaml"},
      {"generate", "run"},
      {"generate", "no/such/run", "--prompt", "a"},
      {"generate", "no/such/run", "--prompt", "a", "--temperature=-1"},
      {"generate", "no/such/run", "--prompt", "a", "--top-p=2"},
      {"checkpoint"},
      {"checkpoint", "show", "no/such/checkpoint"},
      {"config", "show"},
      {"config", "diff", ConfigPath("tiny")},
      {"data", "stats", "no/such/folder"},
      {"data", "stats", TinyData(), "--data.seed=2"},
      {"tokenizer", "encode", "no/such/model"}};
  for (const std::vector<std::string>& line : lines) {
    std::string text = "choir";
    for (const std::string& argument : line) text += " " + argument;
    SCOPED_TRACE(text);
    const ProcessResult result = Choir(line);
    EXPECT_EQ(result.exit, 2) << result.err;
    EXPECT_NE(result.err, "");
    EXPECT_EQ(result.out, "");
  }
}

TEST(BadInputTest, HelpIsNoMistake) {
  for (const std::vector<std::string>& line :
       std::vector<std::vector<std::string>>{{"--help"}, {"--version"}, {"train", "--help"}}) {
    const ProcessResult result = Choir(line);
    EXPECT_EQ(result.exit, 0);
    EXPECT_NE(result.out, "");
    EXPECT_EQ(result.err, "");
  }
}

}  // namespace
}  // namespace choir::train_test
