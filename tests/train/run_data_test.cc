// What a run read, found again by `choir data verify --run` and `choir data ledger`.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/train/run_fixture.h"

namespace choir::train_test {
namespace {

using ::testing::HasSubstr;

// Resumed once, with other shares and batches left out.
std::string EditedRun() {
  const std::string run = FreshPath("edited");
  std::vector<std::string> more = {"--train.steps=20", "--checkpoint.interval=6"};
  ProcessResult result = Choir(TrainArgs("tiny", run, more));
  EXPECT_EQ(result.exit, 0) << result.err;
  more = {"--train.steps=40", "--checkpoint.interval=6", "--resume",
          "--data.mixture.weights={de: 1, en: 2}", "--data.skip.batches=[\"25-27\", \"31\"]"};
  result = Choir(TrainArgs("tiny", run, more));
  EXPECT_EQ(result.exit, 0) << result.err;
  EXPECT_THAT(result.out + result.err,
              HasSubstr("changed since the checkpoint: data.mixture.weights"));
  return run;
}

TEST(RunDataTest, VerifyAndLedgerFindWhatWasRead) {
  const std::string run = EditedRun();
  for (const char* ranks : {"1", "3", "8"}) {
    const ProcessResult all = Choir({"data", "verify", "--run", run, "--ranks", ranks});
    EXPECT_EQ(all.exit, 0) << all.err;
    EXPECT_THAT(all.out, HasSubstr("steps 1 to 40"));
    EXPECT_THAT(all.out, HasSubstr("40 digests, all equal"));
  }
  const ProcessResult some = Choir({"data", "verify", "--run", run, "--steps", "15-33"});
  EXPECT_THAT(some.out, HasSubstr("19 digests, all equal")) << some.err;

  const ProcessResult ledger = Choir({"data", "ledger", run, "--json"});
  ASSERT_EQ(ledger.exit, 0) << ledger.err;
  const nlohmann::json json = nlohmann::json::parse(ledger.out);
  std::map<std::string, int64_t> consumed, reported;
  for (const nlohmann::json& line : json["consumed"]) {
    consumed[line["language"]] += line["labels"].get<int64_t>();
  }
  for (const nlohmann::json& step : ReadMetrics(run).steps) {
    for (const auto& [language, n] : step["language_tokens"].items()) {
      if (n.get<int64_t>() > 0) reported[language] += n.get<int64_t>();
    }
  }
  EXPECT_EQ(consumed, reported);
  EXPECT_EQ(json["batches"], 44);
  ASSERT_EQ(json["entries"].size(), 2u);
  EXPECT_EQ(json["entries"][1]["step"], 20);
  const ProcessResult text = Choir({"data", "ledger", run});
  EXPECT_THAT(text.out, HasSubstr("from step 21:"));
  EXPECT_THAT(text.out, HasSubstr("batches left out: 25-27 31-31"));
}

TEST(RunDataTest, AnotherDigestIsNamed) {
  const std::string run = FreshPath("wrong_digest");
  const ProcessResult result = Choir(TrainArgs("tiny", run, {"--train.steps=6"}));
  ASSERT_EQ(result.exit, 0) << result.err;
  std::string metrics = Read(run + "/metrics.jsonl");
  const std::string digest = ReadMetrics(run).steps[3]["data_digest"];
  std::string other = digest;
  other[0] = other[0] == '0' ? '1' : '0';
  metrics.replace(metrics.find(digest), digest.size(), other);
  Write(run + "/metrics.jsonl", metrics);
  const ProcessResult verify = Choir({"data", "verify", "--run", run});
  EXPECT_EQ(verify.exit, 3);
  EXPECT_THAT(verify.err, HasSubstr("step 4 did not read what its config, corpus and ledger say"));
  EXPECT_EQ(Choir({"data", "verify", "--run", run, "--steps", "5-6"}).exit, 0);
  EXPECT_EQ(Choir({"data", "verify", "--run", run, "--steps", "5-9"}).exit, 2);
  EXPECT_EQ(Choir({"data", "verify", "--run", FreshPath("none")}).exit, 2);
  EXPECT_EQ(Choir({"data", "verify"}).exit, 2);
}

// Straight from the text: a killed run goes on, and its batches are found again as by four ranks.
TEST(RunDataTest, TrainingOnRawText) {
  const std::string source = CHOIR_SOURCE_DIR;
  const std::string build = FreshPath("text") + ".yaml";
  Write(build, "corpus: {path: " + source + "/tests/fixtures/corpus}\n" +
                   "tokenizer: {model: " + TinyData() + "/tokenizer.model}\n" +
                   "shards: {path: " + FreshPath("no_shards") + "}\n");
  std::string config = Read(ConfigPath("tiny"));
  const std::string path = "  path: build/data/tiny\n";
  ASSERT_NE(config.find(path), std::string::npos);
  config.replace(config.find(path), path.size(),
                 "  text: {build: " + build + ", cache: " + FreshPath("text_cache") + "}\n");
  const std::string file = FreshPath("on_text") + ".yaml";
  Write(file, config);
  const auto train = [&](const std::string& run, const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"train", file, "--run.dir=" + run, "--train.steps=12"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  const std::string whole = FreshPath("text_whole"), resumed = FreshPath("text_resumed");
  ProcessResult result = Choir(train(whole, {}));
  ASSERT_EQ(result.exit, 0) << result.err;
  Process first(ChoirCommand(train(resumed, {"--checkpoint.interval=2"})));
  ASSERT_TRUE(first.WaitForStep(resumed, 5));
  first.Signal(9);
  first.Wait();
  result = Choir(train(resumed, {"--checkpoint.interval=2", "--resume"}));
  ASSERT_EQ(result.exit, 0) << result.err;
  ExpectSameMetrics(whole, resumed);
  EXPECT_EQ(Choir({"data", "verify", "--run", resumed, "--ranks", "4"}).exit, 0);
}

}  // namespace
}  // namespace choir::train_test
