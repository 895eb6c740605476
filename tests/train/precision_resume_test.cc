// Resumed runs of recipes whose state is not kept as it is computed with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/strings.h"
#include "tests/train/run_fixture.h"

namespace choir::train_test {
namespace {

using ::testing::HasSubstr;

using Arguments = std::vector<std::string>;

Arguments operator+(Arguments a, const Arguments& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Loss and norm of every step, as printed with 17 digits.
std::vector<std::string> Losses(const std::string& run) {
  std::vector<std::string> losses;
  for (const nlohmann::json& step : ReadMetrics(run).steps) {
    losses.push_back(StrCat(step["loss"].dump(), " ", step["grad_norm"].dump()));
  }
  return losses;
}

TEST(PrecisionResumeTest, SlowIsTheRunThatNobodyStopped) {
  const Arguments recipes[] = {
      {"--precision.recipe=bf16"},
      {"--precision.recipe=bf16-lean"},
      {"--precision.recipe=fp8-block"},
      {"--precision.recipe=bf16", "--precision.moments=int8"},
      {"--precision.recipe=bf16-lean", "--optim.kind=muon", "--optim.ema.decay=0.9"},
      {"--precision.moments=int8", "--optim.kind=lion"}};
  int number = 0;
  for (const Arguments& recipe : recipes) {
    SCOPED_TRACE(recipe.front() + " " + recipe.back());
    const std::string whole = FreshPath(StrCat("whole", number));
    const std::string parts = FreshPath(StrCat("parts", number++));
    const Arguments more = recipe + Arguments{"--train.eval_at_end=false"};
    ASSERT_EQ(Choir(TrainArgs("moe-tiny", whole, more + Arguments{"--train.steps=9"})).exit, 0);
    // The schedule is of the whole run: stopped by its checkpoints, which are at 4 and 8.
    const Arguments stop = {"--train.steps=9", "--checkpoint.interval=4",
                            "--checkpoint.at_end=false"};
    ASSERT_EQ(Choir(TrainArgs("moe-tiny", parts, more + stop)).exit, 0);
    const ProcessResult resumed =
        Choir(TrainArgs("moe-tiny", parts, more + Arguments{"--train.steps=9", "--resume"}));
    ASSERT_EQ(resumed.exit, 0) << resumed.err;
    EXPECT_THAT(resumed.out, HasSubstr("resumed after step 8"));
    EXPECT_EQ(Losses(parts), Losses(whole));
  }
}

TEST(PrecisionResumeTest, SlowTakesAnotherRecipeAndSaysSo) {
  const std::string run = FreshPath("changed");
  ASSERT_EQ(Choir(TrainArgs("moe-tiny", run, {"--train.steps=6"})).exit, 0);
  int64_t steps = 6;
  for (const char* recipe : {"fp8-block", "bf16-lean", "fp16", "fp32"}) {
    steps += 2;
    const ProcessResult result = Choir(TrainArgs(
        "moe-tiny", run,
        {StrCat("--train.steps=", steps), "--resume", StrCat("--precision.recipe=", recipe)}));
    ASSERT_EQ(result.exit, 0) << result.err;
    EXPECT_THAT(result.out + result.err, HasSubstr("precision.recipe: ")) << recipe;
  }
  EXPECT_EQ(ReadMetrics(run).steps.size(), 14u);
}

}  // namespace
}  // namespace choir::train_test
