// What a resumed run may change, and what a run directory refuses.
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>

#include "tests/train/run_fixture.h"

namespace choir::train_test {
namespace {

// A finished run of 12 steps.
std::vector<std::string> ShortArgs(const std::string& run, std::vector<std::string> more = {}) {
  more.insert(more.begin(), {"--train.steps=12", "--checkpoint.interval=6"});
  return TrainArgs("tiny", run, more);
}
std::string ShortRun() {
  const std::string run = FreshPath("short");
  const ProcessResult result = Choir(ShortArgs(run));
  EXPECT_EQ(result.exit, 0) << result.err;
  return run;
}

TEST(ResumeConfigTest, MoreStepsAreHonouredAndSaid) {
  const std::string run = ShortRun();
  const ProcessResult result = Choir(TrainArgs(
      "tiny", run, {"--train.steps=15", "--checkpoint.interval=6", "--optim.lr=1e-3", "--resume"}));
  ASSERT_EQ(result.exit, 0) << result.err;
  EXPECT_NE(result.err.find("train.steps: 12 -> 15"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("optim.lr: 0.003 -> 0.001"), std::string::npos) << result.err;
  const Metrics metrics = ReadMetrics(run);
  ASSERT_EQ(metrics.steps.size(), 15u);
  EXPECT_GT(metrics.steps[5]["lr"], 1e-3);
  EXPECT_LE(metrics.steps[12]["lr"], 1e-3);
  EXPECT_EQ(GoodSteps(run).back(), 15);
  EXPECT_NE(Read(run + "/config.yaml").find("steps: 15"), std::string::npos);
}

TEST(ResumeConfigTest, RefusesWhatTheStateDoesNotFit) {
  const std::string run = ShortRun();
  const auto before = Snapshot(run);
  const ProcessResult result = Choir(ShortArgs(
      run, {"--resume", "--model.hidden=32", "--data.seed=9", "--train.eval_interval=4"}));
  EXPECT_EQ(result.exit, 2) << result.out;
  EXPECT_NE(result.err.find("model.hidden is 32, but the checkpoint was made with 64"),
            std::string::npos)
      << result.err;
  EXPECT_NE(result.err.find("data.seed is 9, but the checkpoint was made with 1"),
            std::string::npos)
      << result.err;
  EXPECT_EQ(Snapshot(run), before);
}

TEST(ResumeConfigTest, AFinishedRunStaysAsItIs) {
  const std::string run = ShortRun();
  const std::string metrics = Read(run + "/metrics.jsonl");
  const ProcessResult result = Choir(ShortArgs(run, {"--resume"}));
  EXPECT_EQ(result.exit, 0) << result.err;
  EXPECT_NE(result.out.find("12"), std::string::npos);
  EXPECT_EQ(Read(run + "/metrics.jsonl"), metrics);
  EXPECT_EQ(GoodSteps(run), (std::vector<int64_t>{6, 12}));
}

TEST(RunDirectoryTest, RefusesToStartOverARun) {
  const std::string run = ShortRun();
  const auto before = Snapshot(run);
  const ProcessResult result = Choir(ShortArgs(run));
  EXPECT_EQ(result.exit, 2);
  EXPECT_NE(result.err.find(run + ": already holds a run"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("--resume"), std::string::npos) << result.err;
  EXPECT_EQ(Snapshot(run), before);
}

TEST(RunDirectoryTest, RefusesASecondProcess) {
  const std::string run = FreshPath("busy");
  Process process(
      ChoirCommand(TrainArgs("tiny", run, {"--train.steps=1000000", "--checkpoint.interval=0"})));
  ASSERT_TRUE(process.WaitForStep(run, 2));
  const ProcessResult result = Choir(
      TrainArgs("tiny", run, {"--train.steps=1000000", "--checkpoint.interval=0", "--resume"}));
  EXPECT_EQ(result.exit, 2);
  EXPECT_NE(result.err.find(run + ": another process is training"), std::string::npos)
      << result.err;
  process.Signal(SIGTERM);
  EXPECT_EQ(process.Wait().exit, 75) << "the first is not disturbed";
}

TEST(RunDirectoryTest, ResumeWithoutACheckpointStartsAndSaysSo) {
  const std::string run = FreshPath("nothing");
  ASSERT_FALSE(Exists(run));
  const ProcessResult result = Choir(ShortArgs(run, {"--resume"}));
  EXPECT_EQ(result.exit, 0) << result.err;
  EXPECT_NE(result.err.find("training starts from the beginning"), std::string::npos) << result.err;
  EXPECT_EQ(ReadMetrics(run).steps.size(), 12u);
}

TEST(RunDirectoryTest, HoldsWhatItPromises) {
  const std::string run = ShortRun();
  EXPECT_EQ(Names(run),
            (std::vector<std::string>{"checkpoints", "config.yaml", "data_ledger.json", "lock",
                                      "log", "metrics.jsonl", "tokenizer.model"}));
  EXPECT_EQ(Names(run + "/log"), (std::vector<std::string>{"rank-0.txt"}));
  EXPECT_EQ(Read(run + "/tokenizer.model"), Read(TinyData() + "/tokenizer.model"));
  // The stored config is whole: it is enough to make the same run again.
  const std::string again = FreshPath("again");
  const ProcessResult result = Choir({"train", run + "/config.yaml", "--run.dir=" + again});
  ASSERT_EQ(result.exit, 0) << result.err;
  ExpectSameRun(run, again);
}

}  // namespace
}  // namespace choir::train_test
