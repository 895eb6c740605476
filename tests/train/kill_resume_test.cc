// Promise P2: a run that was killed or stopped and resumed is the run that was not.
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <random>

#include "base/strings.h"
#include "checkpoint/names.h"
#include "tests/train/run_fixture.h"

namespace choir::train_test {
namespace {

// A run of 60 steps, and a checkpoint every 10, that nobody disturbs; once for each config.
const std::string& Uninterrupted(const std::string& config) {
  static std::map<std::string, std::string> runs;
  std::string& run = runs[config];
  if (run.empty()) {
    run = FreshPath(config);
    const ProcessResult result = Choir(TrainArgs(config, run));
    EXPECT_EQ(result.exit, 0) << result.err;
    EXPECT_EQ(ReadMetrics(run).steps.size(), 60u);
  }
  return run;
}

// Kills the run three times, a random moment after a random step of three parts of the run: in a
// step, in a save, or in the start of the resumed process.
void KillThreeTimes(const std::string& config, unsigned seed) {
  SCOPED_TRACE(StrCat(config, " with seed ", seed));
  std::mt19937 random(seed);
  const std::string run = FreshPath("killed");
  for (int part = 0; part < 3; ++part) {
    const int64_t step = 1 + 17 * part + static_cast<int64_t>(random() % 15);
    std::vector<std::string> more;
    if (part > 0) more.push_back("--resume");
    Process process(ChoirCommand(TrainArgs(config, run, more)));
    ASSERT_TRUE(process.WaitForStep(run, step)) << process.Wait().err;
    usleep(random() % 30'000);
    process.Signal(SIGKILL);
    EXPECT_EQ(process.Wait().signal, SIGKILL);
  }
  const ProcessResult result = Choir(TrainArgs(config, run, {"--resume"}));
  ASSERT_EQ(result.exit, 0) << result.err;
  ExpectSameRun(run, Uninterrupted(config));
  for (const std::string& name : Names(CheckpointsFolder(run))) {
    EXPECT_FALSE(IsTemporaryName(name)) << name;
  }
}

TEST(KillResumeTest, SlowDense) { KillThreeTimes("tiny", 1); }
TEST(KillResumeTest, SlowMixtureOfExperts) { KillThreeTimes("moe-tiny", 2); }
TEST(KillResumeTest, SlowMixtureOfExpertsAgain) { KillThreeTimes("moe-tiny", 3); }

// The command between "continue with:" and the end of its line.
std::string PrintedCommand(const std::string& out) {
  const std::string mark = "continue with:\n  ";
  const size_t begin = out.find(mark);
  if (begin == std::string::npos) return "false";
  return out.substr(begin + mark.size(), out.find('\n', begin + mark.size()) - begin - mark.size());
}

void StopAndContinue(int signal, const std::string& run) {
  Process process(ChoirCommand(TrainArgs("moe-tiny", run)));
  ASSERT_TRUE(process.WaitForStep(run, 13));
  process.Signal(signal);
  const ProcessResult stopped = process.Wait();
  ASSERT_EQ(stopped.exit, 75) << stopped.err;
  const auto steps = static_cast<int64_t>(ReadMetrics(run).steps.size());
  EXPECT_LT(steps, 60);
  EXPECT_EQ(GoodSteps(run).back(), steps) << "the last step is saved";
  EXPECT_NE(stopped.out.find(StrCat("stopped after step ", steps)), std::string::npos);

  const ProcessResult continued = Process(Shell(PrintedCommand(stopped.out))).Wait();
  ASSERT_EQ(continued.exit, 0) << stopped.out << continued.err;
  EXPECT_NE(continued.out.find(StrCat("resumed after step ", steps)), std::string::npos);
  ExpectSameRun(run, Uninterrupted("moe-tiny"));
}

TEST(StopTest, SlowInterrupt) { StopAndContinue(SIGINT, FreshPath("stopped")); }
// The printed command is quoted for a shell.
TEST(StopTest, SlowTerminate) { StopAndContinue(SIGTERM, FreshPath("a run's $HOME; \"x\"")); }

TEST(StopTest, SlowStopsTwiceAndPrintsTheSameCommand) {
  const std::string run = FreshPath("stopped");
  std::string command;
  for (int64_t step : {4, 25}) {
    // `exec`, so that the signal reaches the program and not the shell.
    Process process(command.empty() ? ChoirCommand(TrainArgs("moe-tiny", run))
                                    : Shell("exec " + command));
    ASSERT_TRUE(process.WaitForStep(run, step));
    process.Signal(SIGTERM);
    const ProcessResult result = process.Wait();
    ASSERT_EQ(result.exit, 75) << result.err;
    const std::string printed = PrintedCommand(result.out);
    if (!command.empty()) {
      EXPECT_EQ(printed, command);
    }
    command = printed;
    EXPECT_EQ(GoodSteps(run).back(), static_cast<int64_t>(ReadMetrics(run).steps.size()));
  }
}

}  // namespace
}  // namespace choir::train_test
