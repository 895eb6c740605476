#include "ops/simd.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace choir {
namespace {

float ExpOf(float x) { return Exp(Splat(x))[3]; }

TEST(Simd, ExpIsWithinTwoUnitsInTheLastPlace) {
  for (float x = -87.3f; x < 88.3f; x += 0.0137f) {
    const double exact = std::exp(static_cast<double>(x));
    ASSERT_NEAR(ExpOf(x), exact, 2 * exact * std::ldexp(1, -23)) << x;
  }
  EXPECT_EQ(ExpOf(0), 1);
}

TEST(Simd, ExpAtTheEdges) {
  EXPECT_EQ(ExpOf(-1e30f), 0);
  EXPECT_EQ(ExpOf(-std::numeric_limits<float>::infinity()), 0);
  EXPECT_GT(ExpOf(1e30f), 1e38f);
}

// A damaged value must reach the loss, where the guard on the gradient norm sees it.
TEST(Simd, NanStaysNan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(ExpOf(nan)));
  EXPECT_TRUE(std::isnan(Sigmoid<float>(Splat(nan))[0]));
}

TEST(Simd, SumsOfEveryLength) {
  float a[40], b[40];
  for (int i = 0; i < 40; ++i) {
    a[i] = static_cast<float>(i);
    b[i] = static_cast<float>(i % 3);
  }
  for (int n = 0; n <= 40; ++n) {
    float dot = 0, sum = 0;
    for (int i = 0; i < n; ++i) {
      dot += a[i] * b[i];
      sum += a[i];
    }
    EXPECT_EQ(Dot(a, b, n), dot) << n;  // small integers: exact in any order
    EXPECT_EQ(SumOf(a, n), sum) << n;
  }
}

}  // namespace
}  // namespace choir
