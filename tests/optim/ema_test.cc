#include "optim/ema.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/config_fields.h"
#include "tests/optim/optimizer_testing.h"

namespace choir {
namespace {

// The average as its header writes it, one element after another.
std::vector<double> Twin(const EmaConfig& config, int64_t n, int64_t steps) {
  std::vector<float> average(static_cast<size_t>(n));
  bool first = true;
  for (int64_t step = 1; step <= steps; ++step) {
    if (step < config.start || (step - config.start) % config.every != 0) continue;
    for (int64_t i = 0; i < n; ++i) {
      const auto value = static_cast<float>(GradientAt("w", step, i));
      float& a = average[static_cast<size_t>(i)];
      a = first ? value : std::fma(static_cast<float>(1 - *config.decay), value - a, a);
    }
    first = false;
  }
  return {average.begin(), average.end()};
}

Tensor Values(int64_t step, int64_t n) {
  const Tensor values = Tensor::Zeros({n}, {});
  for (int64_t i = 0; i < n; ++i) {
    values.data<float>()[i] = static_cast<float>(GradientAt("w", step, i));
  }
  return values;
}

EmaConfig Config(double decay, int64_t start, int64_t every) {
  EmaConfig config;
  config.decay = decay;
  config.start = start;
  config.every = every;
  return config;
}

TEST(EmaThread, HasTheBitsOfTheLoop) {
  constexpr int64_t kElements = 5000, kSteps = 23;
  for (const EmaConfig& config : {Config(0.9, 1, 1), Config(0.99, 4, 1), Config(0.5, 3, 5)}) {
    WeightAverage average(config, {kElements}, Device::kCpu);
    for (int64_t step = 1; step <= kSteps; ++step) {
      Tensor values = Values(step, kElements);
      average.Update(step, [&](size_t) { return values; });
      values.Zero();  // Update has its own copy
    }
    EXPECT_EQ(AsDoubles(average.Average(0)), Twin(config, kElements, kSteps));
  }
}

TEST(EmaThread, GoesOnFromWhatWasSaved) {
  constexpr int64_t kElements = 100;
  const EmaConfig config = Config(0.9, 2, 2);
  WeightAverage through(config, {kElements}, Device::kCpu);
  WeightAverage resumed(config, {kElements}, Device::kCpu);
  for (int64_t step = 1; step <= 10; ++step) {
    const Tensor values = Values(step, kElements);
    through.Update(step, [&](size_t) { return values; });
    if (step == 5) {
      resumed.Write(0, through.Average(0).Clone());
      resumed.set_updates(through.updates());
    } else if (step > 5) {
      resumed.Update(step, [&](size_t) { return values; });
    }
  }
  EXPECT_EQ(through.updates(), 5);
  EXPECT_EQ(AsDoubles(through.Average(0)), AsDoubles(resumed.Average(0)));
}

TEST(EmaThread, TakesEightBytesForEachElement) {
  MemoryLedger ledger;
  const ScopedLedger scoped(Device::kCpu, ledger);
  WeightAverage average(Config(0.9, 1, 1), {1024, 64}, Device::kCpu);
  const int64_t start = ledger.CurrentTotal();
  EXPECT_EQ(start, 8 * (1024 + 64));
  ledger.ResetPeak();
  for (int64_t step = 1; step <= 3; ++step) {
    const Tensor large = Values(step, 1024), small = Values(step, 64);
    average.Update(step, [&](size_t i) { return i == 0 ? large : small; });
  }
  average.Wait();
  EXPECT_EQ(ledger.Peak(MemoryCategory::kOptimizer), start);
}

TEST(Ema, VisitListsEveryField) { EXPECT_EQ(ForgottenFields<EmaConfig>(), ""); }

}  // namespace
}  // namespace choir
