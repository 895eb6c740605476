// Settings that must not change the training: recompute, microbatches, threads, prefetch.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/strings.h"
#include "tensor/tolerance.h"
#include "tests/train/run_fixture.h"

namespace choir::train_test {
namespace {

std::string RunWith(const std::string& config, std::vector<std::string> more) {
  const std::string run = FreshPath(config);
  more.insert(more.begin(), {"--train.steps=8", "--checkpoint.interval=0"});
  const ProcessResult result = Choir(TrainArgs(config, run, more));
  EXPECT_EQ(result.exit, 0) << result.err;
  EXPECT_EQ(ReadMetrics(run).steps.size(), 8u);
  return run;
}

int64_t ActivationPeak(const std::string& run) {
  int64_t peak = 0;
  for (const nlohmann::json& line : ReadMetrics(run).steps) {
    peak = std::max(peak, line["memory"]["activations"].get<int64_t>());
  }
  return peak;
}

// What is cheap to make again is dropped, and then everything that can be. The latter needs more
// memory than it saves, because all of it is needed again at once.
TEST(SameMathsTest, SlowRecomputeChangesMemoryOnly) {
  const std::string whole = "--train.microbatch_sequences=auto";
  for (const char* config : {"tiny", "moe-tiny"}) {
    const std::string keep = RunWith(config, {whole});
    const std::string cheap =
        RunWith(config, {whole, "--train.recompute=[norm, \"*swiglu\", qkv.rotary]"});
    const std::string all = RunWith(config, {whole, "--train.recompute=[\"*\"]"});
    const std::string full = RunWith(config, {whole, "--train.recompute=full"});
    ExpectSameRun(keep, full);
    ExpectSameRun(keep, cheap);
    ExpectSameRun(keep, all);
    EXPECT_LT(ActivationPeak(cheap), ActivationPeak(keep)) << config;
    // Made again all at once, just before the first gradient: there is little to gain.
    EXPECT_LE(ActivationPeak(all), ActivationPeak(keep)) << config;
    EXPECT_LT(ActivationPeak(full), ActivationPeak(cheap)) << config;
  }
}

TEST(SameMathsTest, SlowThreadsChangeNothing) {
  for (const char* config : {"tiny", "moe-tiny"}) {
    ExpectSameRun(RunWith(config, {"--train.threads=1"}), RunWith(config, {"--train.threads=2"}));
  }
}

TEST(SameMathsTest, PrefetchChangesNothing) {
  ExpectSameRun(RunWith("tiny", {"--data.prefetch_rows=0"}),
                RunWith("tiny", {"--data.prefetch_rows=7"}));
}

// The same sums in another order: over the labels of a batch, each a product over the width.
TEST(SameMathsTest, MicrobatchesStayWithinTheBound) {
  for (const char* config : {"tiny", "moe-tiny"}) {
    const Metrics one = ReadMetrics(RunWith(config, {"--train.microbatch_sequences=1"}));
    const Metrics all = ReadMetrics(RunWith(config, {"--train.microbatch_sequences=auto"}));
    ASSERT_EQ(one.steps.size(), all.steps.size());
    for (size_t i = 0; i < one.steps.size(); ++i) {
      const double bound = ErrorBound(DType::kF32, 8 * 64 * 64);
      for (const char* key : {"loss", "grad_norm"}) {
        const double a = one.steps[i][key], b = all.steps[i][key];
        EXPECT_NEAR(a, b, bound * std::abs(b)) << config << " step " << i + 1 << " " << key;
      }
      EXPECT_EQ(one.steps[i]["data_digest"], all.steps[i]["data_digest"]);
      EXPECT_EQ(one.steps[i]["language_tokens"], all.steps[i]["language_tokens"]);
    }
    EXPECT_LT(one.steps[7]["memory"]["activations"], all.steps[7]["memory"]["activations"]);
  }
}

// The seeds must matter, or the tests above compare nothing.
TEST(SameMathsTest, SeedsChangeTheRun) {
  const Metrics base = ReadMetrics(RunWith("tiny", {}));
  const Metrics weights = ReadMetrics(RunWith("tiny", {"--train.seed=2"}));
  const Metrics order = ReadMetrics(RunWith("tiny", {"--data.seed=2"}));
  EXPECT_NE(base.losses[0], weights.losses[0]);
  EXPECT_EQ(base.steps[0]["data_digest"], weights.steps[0]["data_digest"]);
  EXPECT_NE(base.steps[0]["data_digest"], order.steps[0]["data_digest"]);
}

}  // namespace
}  // namespace choir::train_test
