#include "ops/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/random.h"
#include "ops/parallel_for.h"
#include "tensor/tolerance.h"

namespace choir {
namespace {

template <class T>
Tensor Numbers(int64_t n) {
  Tensor t = Tensor::Empty({n}, {DTypeOf<T>()});
  CounterRandom random(2, "numbers");
  for (int64_t i = 0; i < n; ++i) {
    t.data<T>()[i] = static_cast<T>(
        std::ldexp(random.Uniform(static_cast<uint64_t>(i)) - 0.5, static_cast<int>(i % 60) - 30));
  }
  return t;
}

template <class T>
void CheckSquares(int64_t n) {
  const Tensor x = Numbers<T>(n);
  ExactSum twin;
  for (const T v : x.span<T>()) {
    const double d = static_cast<double>(v), square = d * d;
    twin.Add(square);
    twin.Add(std::fma(d, d, -square));
  }
  EXPECT_NEAR(SumOfSquares(x), twin.Value(), ErrorBound(DType::kF64, n) * twin.Value());
  for (int threads : {1, 3}) {
    SetNumThreads(threads);
    EXPECT_EQ(ExactSumOfSquares(x).ToDigits(), twin.ToDigits()) << threads << " threads, " << n;
    SetNumThreads(0);
  }
  // Any split has the same sum.
  ExactSum halves = ExactSumOfSquares(x.Rows(n / 3, n - n / 3));
  halves.Merge(ExactSumOfSquares(x.Rows(0, n / 3)));
  EXPECT_EQ(halves.ToDigits(), twin.ToDigits());
}

TEST(ExactSumOfSquares, ThreadsAndSplitsDoNotMatter) {
  for (int64_t n : {0, 1, 17, 100000}) {
    CheckSquares<float>(n);
    CheckSquares<double>(n);
  }
}

TEST(ExactSumOfSquares, ReportsNan) {
  Tensor x = Numbers<float>(50000);
  x.data<float>()[40000] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(ExactSumOfSquares(x).Value()));
}

TEST(ExactSumOfSquares, IsZeroOnMeta) {
  EXPECT_EQ(ExactSumOfSquares(Tensor::Empty({5}, {DType::kF32, Device::kMeta})).Value(), 0);
}

}  // namespace
}  // namespace choir
