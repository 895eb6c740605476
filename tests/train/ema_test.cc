// The average of the weights in a run: kept, saved, continued, and used.
#include <gtest/gtest.h>

#include "tests/train/run_fixture.h"

namespace choir::train_test {
namespace {

std::vector<std::string> Args(const std::string& run, std::vector<std::string> more = {}) {
  more.insert(more.end(), {"--train.steps=8", "--checkpoint.interval=4", "--optim.ema.decay=0.8",
                           "--optim.ema.start=2"});
  return TrainArgs("moe-tiny", run, more);
}

TEST(EmaTest, AResumedRunHasTheAverageOfTheUninterruptedOne) {
  const std::string whole = FreshPath("whole"), parts = FreshPath("parts");
  ASSERT_EQ(Choir(Args(whole)).exit, 0);
  ASSERT_EQ(Choir(Args(parts)).exit, 0);
  // The last checkpoint is lost: the run goes on from the one before it.
  DamageCheckpoint(parts, 8);
  const ProcessResult resumed = Choir(Args(parts, {"--resume"}));
  ASSERT_EQ(resumed.exit, 0) << resumed.err;
  ExpectSameCheckpoint(whole, parts);
}

TEST(EmaTest, GeneratesWithTheAverage) {
  const std::string run = FreshPath("average"), plain = FreshPath("plain");
  // So slow that it stays close to where the weights began.
  ASSERT_EQ(Choir(TrainArgs("moe-tiny", run, {"--train.steps=30", "--optim.ema.decay=0.999"})).exit,
            0);
  const auto text = [](const std::string& path, std::vector<std::string> more) {
    more.insert(more.begin(), {"generate", path, "--prompt", "The ", "--seed=3"});
    return Choir(more);
  };
  const ProcessResult with = text(run, {"--ema"}), without = text(run, {});
  EXPECT_EQ(with.exit, 0) << with.err;
  EXPECT_NE(with.out, without.out);
  ASSERT_EQ(Choir(TrainArgs("moe-tiny", plain, {"--train.steps=6"})).exit, 0);
  const ProcessResult none = text(plain, {"--ema"});
  EXPECT_EQ(none.exit, 2);
  EXPECT_NE(none.err.find("optim.ema.decay"), std::string::npos) << none.err;
}

TEST(EmaTest, ARunCannotBeginOrEndItOnResume) {
  const std::string run = FreshPath("toggled");
  ASSERT_EQ(Choir(TrainArgs("tiny", run, {"--train.steps=6"})).exit, 0);
  for (const char* change : {"--optim.ema.decay=0.9", "--optim.kind=lion"}) {
    const ProcessResult result =
        Choir(TrainArgs("tiny", run, {"--train.steps=8", "--resume", change}));
    EXPECT_EQ(result.exit, 2) << change;
    EXPECT_NE(result.err.find(std::string(change).substr(2, 9)), std::string::npos) << result.err;
  }
}

}  // namespace
}  // namespace choir::train_test
