// A schedule in tokens, in a run whose steps have different numbers of them.
#include <gtest/gtest.h>

#include "optim/schedule.h"
#include "tests/train/run_fixture.h"

namespace choir::train_test {
namespace {

ScheduleConfig Schedule() {
  ScheduleConfig schedule;
  schedule.unit = ScheduleUnit::kTokens;
  schedule.warmup_tokens = 1000;
  schedule.total_tokens = 3000;
  return schedule;
}

std::vector<std::string> Args(const std::string& run, std::vector<std::string> more = {}) {
  more.insert(more.end(),
              {"--train.steps=10", "--train.batch_ramp.steps=6", "--checkpoint.interval=5",
               "--train.batch_ramp.start_sequences=2", "--optim.schedule.unit=tokens",
               "--optim.schedule.warmup_steps=0", "--optim.schedule.warmup_tokens=1000",
               "--optim.schedule.total_tokens=3000"});
  return TrainArgs("tiny", run, more);
}

TEST(TokenScheduleTest, FollowsTheLabelsAndGoesOnAfterAResume) {
  const std::string run = FreshPath("tokens"), resumed = FreshPath("resumed");
  const ProcessResult result = Choir(Args(run));
  ASSERT_EQ(result.exit, 0) << result.err;
  int64_t before = 0;
  bool warms_up = false, ends = false;
  for (const nlohmann::json& line : ReadMetrics(run).steps) {
    const int64_t tokens = line["tokens"].get<int64_t>();
    const double factor = ScheduleFactor(Schedule(), {before, tokens, 3000});
    EXPECT_EQ(line["lr"].get<double>(), 3e-3 * factor) << line["step"];
    warms_up |= before < 1000 && factor < 1;
    ends |= tokens >= 3000 && factor == 0.1;
    before = tokens;
  }
  EXPECT_TRUE(warms_up && ends);
  ASSERT_EQ(Choir(Args(resumed)).exit, 0);
  DamageCheckpoint(resumed, 10);
  ASSERT_EQ(Choir(Args(resumed, {"--resume"})).exit, 0);
  ExpectSameCheckpoint(run, resumed);
}

}  // namespace
}  // namespace choir::train_test
