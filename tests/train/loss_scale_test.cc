// Steps whose gradient overflows (precision.recipe: fp16).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <barrier>
#include <cmath>
#include <cstring>
#include <memory>

#include "base/fault.h"
#include "parallel/comm/local_world.h"
#include "tests/train/run_fixture.h"
#include "train/trainer.h"
#include "train/verify.h"

namespace choir::train_test {
namespace {

using ::testing::HasSubstr;

constexpr int kRanks = 4, kSteps = 6, kBadStep = 4;

RunConfig Config() {
  auto config = LoadConfigFile<RunConfig>(
      ConfigPath("moe-tiny"), {"--run.dir=" + FreshPath("scale"), "--data.path=" + TinyData(),
                               "--train.microbatch_sequences=1", "--precision.recipe=fp16"});
  EXPECT_TRUE(config.ok()) << config.status();
  config->parallel = ParseLayout("data=2,tensor=2")->parallel;
  return *config;
}

struct Rank {
  std::vector<StepReport> reports;
  std::vector<Tensor> state;  // this rank's part
};
using Ranks = std::array<Rank, kRanks>;

// Trains on a 2 x 2 layout. In `bad` step, `how`: an infinite gradient on one rank, or the update
// is left out.
enum class How { kOverflow, kRemoved };
Ranks Train(How how) {
  Ranks run;
  std::barrier together(kRanks);
  std::unique_ptr<ScopedFault> fault;
  const RunConfig config = Config();
  const absl::Status status = RunLocal(kRanks, WorldOptionsOf(config), [&](World& world) {
    auto made = Trainer::Make(config, &world);
    ASSERT_TRUE(made.ok()) << made.status();
    Trainer& trainer = **made;
    Rank& rank = run[static_cast<size_t>(world.rank())];
    for (int step = 1; step <= kSteps; ++step) {
      const bool bad = step == kBadStep;
      together.arrive_and_wait();
      if (bad && how == How::kOverflow && world.rank() == 0) {
        fault = std::make_unique<ScopedFault>(Fault::kGradientOverflows);
      }
      together.arrive_and_wait();
      absl::StatusOr<StepReport> report = trainer.ComputeGradients();
      ASSERT_TRUE(report.ok()) << report.status();
      if (bad && how == How::kRemoved) {
        trainer.SkipUpdate(*report);
      } else {
        ASSERT_TRUE(trainer.Update(*report).ok());
      }
      together.arrive_and_wait();
      if (bad && world.rank() == 0) fault = nullptr;
      rank.reports.push_back(*report);
    }
    for (const auto& t : trainer.State()) {
      if (t.mine.defined()) rank.state.push_back(t.mine.Clone());
    }
  });
  EXPECT_TRUE(status.ok()) << status;
  return run;
}

TEST(LossScaleRunTest, AnOverflowSkipsItsStepOnEveryRankAndLeavesNoTrace) {
  const Ranks overflowed = Train(How::kOverflow), removed = Train(How::kRemoved);
  for (size_t r = 0; r < kRanks; ++r) {
    SCOPED_TRACE(r);
    const auto& reports = overflowed[r].reports;
    ASSERT_EQ(reports.size(), static_cast<size_t>(kSteps));
    for (const StepReport& report : reports) {
      const bool bad = report.step == kBadStep;
      EXPECT_EQ(report.skipped, bad) << report.step;
      EXPECT_EQ(std::isfinite(report.grad_norm), !bad) << report.step;
      EXPECT_EQ(report.loss_scale, report.step <= kBadStep ? 65536 : 32768) << report.step;
      EXPECT_EQ(report.skipped_steps, report.step < kBadStep ? 0 : 1) << report.step;
      const auto i = static_cast<size_t>(report.step - 1);
      EXPECT_EQ(report.loss, removed[r].reports[i].loss) << report.step;
      EXPECT_EQ(report.tokens, removed[r].reports[i].tokens) << report.step;
    }
    ASSERT_EQ(overflowed[r].state.size(), removed[r].state.size());
    for (size_t i = 0; i < overflowed[r].state.size(); ++i) {
      const Tensor &a = overflowed[r].state[i], &b = removed[r].state[i];
      ASSERT_EQ(a.bytes(), b.bytes());
      EXPECT_EQ(std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())), 0) << i;
    }
  }
}

// An overflow for every scale: the run ends when it cannot go lower.
TEST(LossScaleRunTest, EndsAtTheMinimum) {
  const std::string run = FreshPath("hopeless");
  const ProcessResult result = Choir(TrainArgs(
      "moe-tiny", run,
      {"--precision.recipe=fp16", "--model.init_std=1e30", "--precision.loss_scale.initial=8"}));
  EXPECT_EQ(result.exit, 4) << result.err;
  EXPECT_THAT(result.err, HasSubstr("step 4: the gradient of ")) << "8, 4, 2, then 1";
  const auto steps = ReadMetrics(run).steps;
  ASSERT_EQ(steps.size(), 3u);
  EXPECT_EQ(steps.back()["skipped_steps"], 3);
}

TEST(LossScaleRunTest, ScaleAndCountSurviveAResume) {
  const std::string run = FreshPath("resumed");
  const std::vector<std::string> fp16 = {"--precision.recipe=fp16",
                                         "--precision.loss_scale.growth_interval=3"};
  auto with = [&fp16](std::vector<std::string> more) {
    more.insert(more.end(), fp16.begin(), fp16.end());
    return more;
  };
  ASSERT_EQ(Choir(TrainArgs("moe-tiny", run, with({"--train.steps=8"}))).exit, 0);
  ASSERT_EQ(Choir(TrainArgs("moe-tiny", run, with({"--train.steps=12", "--resume"}))).exit, 0);
  std::vector<double> scales;
  for (const auto& step : ReadMetrics(run).steps) scales.push_back(step["loss_scale"]);
  ASSERT_EQ(scales.size(), 12u);
  for (size_t i = 0; i < scales.size(); ++i) {
    EXPECT_EQ(scales[i], 65536 * std::exp2(static_cast<double>(i / 3))) << i + 1;
  }
}

}  // namespace
}  // namespace choir::train_test
