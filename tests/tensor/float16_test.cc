// Every 16-bit pattern both ways, and rounding against exact neighbours.
#include "tensor/float16.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "base/random.h"

namespace choir {
namespace {

// The layout of a 16-bit format, decoded by its definition.
struct Format {
  int exponent_bits, mantissa_bits;

  int Bias() const { return (1 << (exponent_bits - 1)) - 1; }
  uint16_t Infinity() const {
    return static_cast<uint16_t>(((1 << exponent_bits) - 1) << mantissa_bits);
  }
  bool IsNan(uint16_t bits) const { return (bits & 0x7fff) > Infinity(); }
  double Value(uint16_t bits) const {
    const int exponent = (bits & 0x7fff) >> mantissa_bits;
    const int mantissa = bits & ((1 << mantissa_bits) - 1);
    const double sign = bits >> 15 != 0 ? -1 : 1;
    if ((bits & 0x7fff) == Infinity()) return sign * std::numeric_limits<double>::infinity();
    if (exponent == 0) return sign * std::ldexp(mantissa, 1 - Bias() - mantissa_bits);
    return sign * std::ldexp(mantissa + (1 << mantissa_bits), exponent - Bias() - mantissa_bits);
  }
};
constexpr Format kHalf{5, 10}, kBrain{8, 7};

template <class T>
constexpr Format FormatOf() {
  return std::is_same_v<T, Float16> ? kHalf : kBrain;
}
template <class T>
uint16_t Round(float x) {
  if constexpr (std::is_same_v<T, Float16>) return ToFloat16(x).bits;
  if constexpr (std::is_same_v<T, BFloat16>) return ToBFloat16(x).bits;
}

template <class T>
class Float16Test : public ::testing::Test {};
using Formats = ::testing::Types<Float16, BFloat16>;
TYPED_TEST_SUITE(Float16Test, Formats);

TYPED_TEST(Float16Test, EveryPatternHasItsValueAndComesBack) {
  constexpr Format format = FormatOf<TypeParam>();
  for (uint32_t i = 0; i < 65536; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    const float value = ToFloat(TypeParam{bits});
    if (format.IsNan(bits)) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_TRUE(format.IsNan(Round<TypeParam>(value))) << bits;
      continue;
    }
    ASSERT_EQ(value, format.Value(bits)) << bits;
    ASSERT_EQ(std::signbit(value), bits >> 15 != 0) << bits;
    ASSERT_EQ(Round<TypeParam>(value), bits);
  }
}

// Between each two neighbours: the middle goes to the even one, anything beside it to the nearer.
TYPED_TEST(Float16Test, RoundsToNearestTiesToEven) {
  constexpr Format format = FormatOf<TypeParam>();
  for (uint16_t sign : {0x0000, 0x8000}) {
    for (uint16_t i = 0; i < format.Infinity(); ++i) {
      const auto low = static_cast<uint16_t>(sign | i), high = static_cast<uint16_t>(low + 1);
      // What the value above the largest finite one would be, if the exponent went on.
      const double above =
          i + 1 == format.Infinity()
              ? 2 * format.Value(low) - format.Value(static_cast<uint16_t>(low - 1))
              : format.Value(high);
      const double middle = (format.Value(low) + above) / 2;
      const auto tie = static_cast<float>(middle);
      ASSERT_EQ(tie, middle) << "a tie is a float";
      const float outward = std::nextafter(tie, sign != 0 ? -INFINITY : INFINITY);
      ASSERT_EQ(Round<TypeParam>(tie), i % 2 == 0 ? low : high) << i;
      ASSERT_EQ(Round<TypeParam>(std::nextafter(tie, 0.0f)), low) << i;
      ASSERT_EQ(Round<TypeParam>(outward), high) << i;
    }
  }
}

TYPED_TEST(Float16Test, ExtremesAndAnyFloat) {
  constexpr Format format = FormatOf<TypeParam>();
  EXPECT_EQ(Round<TypeParam>(std::numeric_limits<float>::max()), format.Infinity());
  EXPECT_EQ(Round<TypeParam>(-std::numeric_limits<float>::max()), format.Infinity() | 0x8000);
  EXPECT_EQ(Round<TypeParam>(INFINITY), format.Infinity());
  EXPECT_EQ(Round<TypeParam>(std::numeric_limits<float>::denorm_min()), 0);
  EXPECT_EQ(Round<TypeParam>(-0.0f), 0x8000);
  // A NaN whose payload is only in the bits that are cut off stays NaN.
  EXPECT_TRUE(format.IsNan(Round<TypeParam>(std::bit_cast<float>(0x7f800001u))));
  const CounterRandom random(1, "floats");
  for (uint64_t i = 0; i < 200'000; ++i) {
    const float x = std::bit_cast<float>(static_cast<uint32_t>(random.Bits(i)));
    const uint16_t bits = Round<TypeParam>(x);
    if (std::isnan(x)) {
      ASSERT_TRUE(format.IsNan(bits));
      continue;
    }
    if ((bits & 0x7fff) == format.Infinity()) continue;  // the ties above say where it begins
    // No neighbour is nearer.
    const double error = std::abs(format.Value(bits) - static_cast<double>(x));
    const auto magnitude = static_cast<uint16_t>(bits & 0x7fff);
    const auto sign = static_cast<uint16_t>(bits & 0x8000);
    for (const int step : {-1, 1}) {
      if (magnitude == 0 && step < 0) continue;
      const auto other = static_cast<uint16_t>(sign | (magnitude + step));
      ASSERT_LE(error, std::abs(format.Value(other) - static_cast<double>(x))) << x;
    }
  }
}

}  // namespace
}  // namespace choir
