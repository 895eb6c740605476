#include "bench/planner/fit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/file.h"
#include "bench/planner/constants.h"
#include "bench/planner/evaluate.h"
#include "bench/planner/statistics.h"

namespace choir::planner {
namespace {

TEST(StatisticsTest, ErrorsAndRanks) {
  const ErrorSummary summary = Summarize({0.1, -0.3, 0.2});
  EXPECT_EQ(summary.count, 3);
  EXPECT_DOUBLE_EQ(summary.mean, 0.2);
  EXPECT_DOUBLE_EQ(summary.max, 0.3);
  EXPECT_NEAR(summary.bias, 0, 1e-15);
  EXPECT_DOUBLE_EQ(RankCorrelation({1, 2, 3}, {10, 30, 20}), 0.5);
  EXPECT_DOUBLE_EQ(RankCorrelation({1, 2, 3}, {3, 2, 1}), -1);
  // Two equal values share rank 1.5: 1.5 / sqrt(2 x 1.5).
  EXPECT_DOUBLE_EQ(RankCorrelation({1, 2, 3}, {5, 7, 7}), 1.5 / std::sqrt(3));
  EXPECT_EQ(RankCorrelation({1, 1}, {1, 2}), 0);
  EXPECT_EQ(Median({3, 1, 2, 10}), 2.5);
}

// Steps that were made with known constants: the fit explains them.
TEST(FitTest, FindsConstantsThatExplainTheRuns) {
  const auto bench = LoadBench(CHOIR_SOURCE_DIR);
  ASSERT_TRUE(bench.ok()) << bench.status();
  Values truth = UsualValues();
  truth[0] *= 0.8;   // products in BF16
  truth[6] *= 0.75;  // memory
  std::vector<PublishedRun> runs;
  std::vector<Sample> samples;
  for (const Sample& sample : (*bench)->samples) {
    if (sample.run->system == "a100-40gb llm-foundry") samples.push_back(sample);
  }
  runs.reserve(samples.size());
  std::vector<const Sample*> pointers;
  for (Sample& sample : samples) {
    runs.push_back(*sample.run);
    runs.back().seconds = PredictSeconds(sample, truth);
    sample.run = &runs.back();
    pointers.push_back(&sample);
  }
  const Values fitted = Fit(pointers);
  double before = 0, after = 0;
  for (const Sample* sample : pointers) {
    before += std::abs(PredictSeconds(*sample, UsualValues()) / sample->run->seconds - 1);
    after += std::abs(PredictSeconds(*sample, fitted) / sample->run->seconds - 1);
  }
  EXPECT_GT(before / static_cast<double>(pointers.size()), 0.1);
  EXPECT_LT(after / static_cast<double>(pointers.size()), 0.01);
  EXPECT_EQ(Fit({}), UsualValues());
}

TEST(FitTest, LeavingMicrobatchesOutChangesLittle) {
  const auto bench = LoadBench(CHOIR_SOURCE_DIR);
  ASSERT_TRUE(bench.ok()) << bench.status();
  for (const Sample& sample : (*bench)->samples) {
    const double full = PredictSecondsInFull(sample, UsualValues());
    EXPECT_NEAR(PredictSeconds(sample, UsualValues()) / full, 1, 0.01) << sample.run->id;
  }
}

TEST(ConstantsTest, SavedOnesReadBack) {
  const std::string path = (std::filesystem::path(testing::TempDir()) / "constants.json").string();
  FrozenConstants frozen;
  frozen.systems["a b"] = UsualValues();
  ASSERT_TRUE(SaveConstants(frozen, path).ok());
  const auto loaded = LoadConstants(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->frozen.Of("a b"), UsualValues());
  EXPECT_EQ(loaded->hash.size(), 32u);
  ASSERT_TRUE(WriteFileAtomic(path, "{\"a\": {}}").ok());
  const std::string message(LoadConstants(path).status().message());
  EXPECT_NE(message.find("'a' has no number products.bf16.efficiency"), std::string::npos)
      << message;
}

TEST(ConstantsTest, TheFrozenFileHoldsEverySystem) {
  const auto bench = LoadBench(CHOIR_SOURCE_DIR);
  ASSERT_TRUE(bench.ok()) << bench.status();
  const auto loaded = LoadConstants(CHOIR_SOURCE_DIR "/bench/planner/constants.json");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  for (const Sample& sample : (*bench)->samples) {
    if (sample.run->split != "calibrate") continue;
    EXPECT_TRUE(loaded->frozen.systems.contains(sample.run->system)) << sample.run->system;
  }
}

// Shipped files say which software's constants they hold: "... published runs of SYSTEM (docs/...".
TEST(ConstantsTest, ShippedMachinesHoldTheFrozenOnes) {
  const auto bench = LoadBench(CHOIR_SOURCE_DIR);
  ASSERT_TRUE(bench.ok()) << bench.status();
  const auto loaded = LoadConstants(CHOIR_SOURCE_DIR "/bench/planner/constants.json");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  for (const auto& [name, hardware] : (*bench)->machines) {
    const std::string& source = hardware.sources.back();
    const size_t begin = source.find(" of ") + 4, end = source.find(" (docs");
    const std::string system = source.substr(begin, end - begin);
    ASSERT_TRUE(loaded->frozen.systems.contains(system)) << name << ": '" << system << "'";
    const Hardware frozen = WithConstants(hardware, loaded->frozen.Of(system));
    for (const ConfigDifference& d : ConfigDiff(hardware, frozen)) {
      ADD_FAILURE() << name << ": " << d.key << " is " << d.a << ", frozen " << d.b;
    }
  }
}

}  // namespace
}  // namespace choir::planner
