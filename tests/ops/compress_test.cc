#include "ops/compress.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/random.h"

namespace choir {
namespace {

constexpr NumberFormat kFormats[] = {NumberFormat::kBF16, NumberFormat::kE4M3, NumberFormat::kE5M2};

// Rows of very different size, each with elements of many orders of magnitude.
Tensor Rows(int64_t rows, int64_t width) {
  const CounterRandom random(3, "rows");
  Tensor x = Tensor::Empty({rows, width}, {});
  for (int64_t i = 0; i < x.NumElements(); ++i) {
    const auto at = static_cast<uint64_t>(i);
    const double order = 1e-3 * static_cast<double>(random.Below(2 * at, 12000)) - 12;
    x.data<float>()[i] = static_cast<float>(
        random.Normal(2 * at + 1) * std::exp2(order + static_cast<double>(i / width % 7) * 9 - 30));
  }
  return x;
}

double Largest(const float* row, int64_t n) {
  return std::abs(
      *std::max_element(row, row + n, [](float a, float b) { return std::abs(a) < std::abs(b); }));
}

TEST(Compress, KeepsItsBoundAndTheBoundIsTight) {
  const int64_t width = 100;
  const Tensor x = Rows(50, width);
  for (const NumberFormat format : kFormats) {
    const Tensor y = Expand(Compress(x, format));
    double worst = 0;
    for (int64_t i = 0; i < x.NumElements(); ++i) {
      const double from = x.data<float>()[i], to = y.data<float>()[i];
      const double bound =
          CompressionBound(format, from, Largest(x.data<float>() + i / width * width, width));
      ASSERT_LE(std::abs(to - from), bound) << Name(format) << " " << from << " became " << to;
      worst = std::max(worst, std::abs(to - from) / bound);
    }
    // Relative errors are largest just above a power of two.
    EXPECT_GT(worst, 0.98 / (1 + UnitRoundoff(format))) << Name(format);
  }
}

TEST(Compress, TwiceIsOnce) {
  const Tensor x = Rows(20, 33);
  for (const NumberFormat format : kFormats) {
    const Tensor once = Expand(Compress(x, format)), twice = Expand(Compress(once, format));
    EXPECT_TRUE(std::ranges::equal(once.span<float>(), twice.span<float>())) << Name(format);
  }
}

TEST(Compress, ScalesBelongToRows) {
  const Tensor x = Rows(6, 40);
  for (const NumberFormat format : kFormats) {
    const Tensor all = Expand(Compress(x, format));
    for (int64_t r = 0; r < 6; ++r) {
      const Tensor row = Expand(Compress(x.Rows(r, 1), format));
      EXPECT_TRUE(std::ranges::equal(row.span<float>(), all.Rows(r, 1).span<float>()));
    }
  }
}

TEST(Compress, ZerosAndTheExtremesComeBack) {
  const float top = std::numeric_limits<float>::max(), tiny = 1e-44f;
  const float infinity = std::numeric_limits<float>::infinity();
  for (const NumberFormat format : kFormats) {
    const auto back = [&](std::vector<float> row) {
      const int64_t n = static_cast<int64_t>(row.size());
      return Expand(Compress(Tensor::From<float>({1, n}, row), format));
    };
    EXPECT_EQ(back({0, -0.0f}).data<float>()[0], 0);
    EXPECT_TRUE(std::signbit(back({0, -0.0f}).data<float>()[1]));
    EXPECT_LE(std::abs(back({top / 2, 1}).data<float>()[0] - top / 2),
              CompressionBound(format, top / 2, top / 2));
    EXPECT_LE(std::abs(back({tiny}).data<float>()[0] - tiny), CompressionBound(format, tiny, tiny));
    const Tensor odd = back({NAN, infinity, 3});
    EXPECT_TRUE(std::isnan(odd.data<float>()[0]));
    EXPECT_FALSE(std::isfinite(odd.data<float>()[1]));
    EXPECT_EQ(odd.data<float>()[2], 3);
  }
}

TEST(Compress, TakesTheBytesItSays) {
  for (const Device device : {Device::kCpu, Device::kMeta}) {
    const Tensor x = Tensor::Empty({32, 64}, {DType::kF32, device});
    EXPECT_EQ(Compress(x, NumberFormat::kBF16).codes->bytes(), 32 * 64 * 2);
    EXPECT_EQ(Compress(x, NumberFormat::kE4M3).codes->bytes(), 32 * 64 + 32 * 4);
    EXPECT_EQ(Expand(Compress(x, NumberFormat::kE5M2)).shape(), x.shape());
    EXPECT_EQ(Compress(Tensor::Empty({0, 5}, {DType::kF32, device}), NumberFormat::kE4M3).shape,
              Shape({0, 5}));
  }
}

}  // namespace
}  // namespace choir
