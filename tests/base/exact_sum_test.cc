#include "base/exact_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "base/random.h"

namespace choir {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

bool SameBits(double a, double b) {
  return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
}

// The twin: one signed count for each power of two, bit by bit, and strtod for the rounding.
class BitCounts {
 public:
  void Add(double x) { AddProduct(x, 1); }
  void AddSquare(double x) { AddProduct(x, x); }

  double Value() const {
    std::vector<int64_t> counts = counts_;
    int64_t carry = Carry(counts);
    const bool negative = carry < 0;
    if (negative) {
      counts = counts_;
      for (int64_t& count : counts) count = -count;
      carry = Carry(counts);
    }
    EXPECT_EQ(carry, 0);
    std::string text = negative ? "-0x" : "0x";
    for (size_t i = counts.size(); i >= 4; i -= 4) {
      int64_t digit = 0;
      for (size_t b = 1; b <= 4; ++b) digit = 2 * digit + counts[i - b];
      text += "0123456789abcdef"[digit];
    }
    return std::strtod((text + "p-" + std::to_string(kPoint)).c_str(), nullptr);
  }

 private:
  static constexpr int kPoint = 2148;  // bits behind the point: squares of subnormals

  void AddProduct(double x, double y) {
    int ex = 0, ey = 0;
    auto mx = static_cast<int64_t>(std::ldexp(std::frexp(x, &ex), 53));
    auto my = static_cast<int64_t>(std::ldexp(std::frexp(y, &ey), 53));
    while (mx != 0 && mx % 2 == 0) mx /= 2, ++ex;
    while (my != 0 && my % 2 == 0) my /= 2, ++ey;
    const int sign = (mx < 0) != (my < 0) ? -1 : 1;
    auto product =
        static_cast<unsigned __int128>(std::abs(mx)) * static_cast<unsigned __int128>(std::abs(my));
    for (int at = ex + ey - 106 + kPoint; product != 0; ++at, product >>= 1) {
      if (product & 1) counts_[static_cast<size_t>(at)] += sign;
    }
  }
  // To bits; returns what is left above them: below 0 for a negative sum.
  static int64_t Carry(std::vector<int64_t>& counts) {
    int64_t carry = 0;
    for (int64_t& count : counts) {
      const int64_t sum = count + carry;
      count = sum & 1;
      carry = (sum - count) / 2;
    }
    return carry;
  }

  std::vector<int64_t> counts_ = std::vector<int64_t>(4 * 1100);
};

// Exponents within [-spread, spread], both signs, and much cancellation.
std::vector<double> Numbers(int n, int spread, uint64_t seed) {
  CounterRandom random(seed, "numbers");
  std::vector<double> v;
  for (int i = 0; i < n; ++i) {
    const auto at = static_cast<uint64_t>(3 * i);
    const int exponent = static_cast<int>((2 * random.Uniform(at) - 1) * spread);
    v.push_back(std::ldexp(2 * random.Uniform(at + 1) - 1, exponent));
    if (random.Uniform(at + 2) < 0.4) v.push_back(-v[v.size() / 2]);
  }
  return v;
}

double SumOf(const std::vector<double>& values) {
  ExactSum sum;
  sum.Add(values);
  return sum.Value();
}

double TwinOf(const std::vector<double>& values) {
  BitCounts twin;
  for (double x : values) twin.Add(x);
  return twin.Value();
}

TEST(ExactSum, NothingIsPlusZero) {
  EXPECT_TRUE(SameBits(ExactSum().Value(), 0.0));
  EXPECT_TRUE(SameBits(SumOf({-0.0}), 0.0));
  EXPECT_TRUE(SameBits(SumOf({1.5, -1.5}), 0.0));
}

TEST(ExactSum, OneNumberComesBack) {
  const double largest = std::numeric_limits<double>::max();
  const double smallest = std::numeric_limits<double>::denorm_min();
  for (double x : {1.0, 0.1, 1e300, 1e-300, largest, smallest, 3 * smallest, 0x1p-1022,
                   0x1.fffffffffffffp-1023, 0x1.fffffffffffffp-1022, 0x1p31, 0x1p32, 0x1p-1042}) {
    EXPECT_EQ(SumOf({x}), x);
    EXPECT_EQ(SumOf({-x}), -x);
    EXPECT_EQ(SumOf({x, x, x, -x, -x}), x);
  }
}

TEST(ExactSum, EveryPowerOfTwoComesBack) {
  for (int e = -1074; e < 1024; ++e) {
    EXPECT_EQ(SumOf({std::ldexp(1, e)}), std::ldexp(1, e));
    const double less = std::ldexp(1, e) - 1;  // one rounding
    EXPECT_EQ(SumOf({std::ldexp(1, e), -1}), less) << e;
  }
}

TEST(ExactSum, KeepsWhatDoublesCancel) {
  EXPECT_EQ(SumOf({1e300, 1, -1e300}), 1);
  EXPECT_EQ(SumOf({1e308, 1e308, -1e308, -1e308, 1e-320}), 1e-320);
  EXPECT_EQ(SumOf({1, 0x1p-60, -1}), 0x1p-60);
  EXPECT_EQ(SumOf({1e308, 1e308, -1e308}), 1e308);  // beyond the largest double on the way
}

TEST(ExactSum, RoundsToNearestTiesToEven) {
  EXPECT_EQ(SumOf({1, 0x1p-53}), 1);
  EXPECT_EQ(SumOf({1, 0x1p-53, 0x1p-1074}), 1 + 0x1p-52);
  EXPECT_EQ(SumOf({1, 0x1p-53, -0x1p-1074}), 1);
  EXPECT_EQ(SumOf({1 + 0x1p-52, 0x1p-53}), 1 + 0x1p-51);
  EXPECT_EQ(SumOf({-1, -0x1p-53, -0x1p-1074}), -1 - 0x1p-52);
  EXPECT_EQ(SumOf({0x1p53, 1, 0x1p-1000}), 0x1p53 + 2);
  const double largest = std::numeric_limits<double>::max();
  EXPECT_EQ(SumOf({largest, 0x1p969}), largest);
  EXPECT_EQ(SumOf({largest, 0x1p970}), kInfinity);
  EXPECT_EQ(SumOf({-largest, -largest}), -kInfinity);
}

TEST(ExactSum, AgreesWithCountsOfBits) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const int spread = static_cast<int>(seed * 5);
    const std::vector<double> values = Numbers(1 + static_cast<int>(seed % 30), spread, seed);
    ASSERT_TRUE(SameBits(SumOf(values), TwinOf(values))) << seed;
    BitCounts twin;
    std::vector<double> small;
    for (double x : values) {
      if (std::abs(x) < 0x1p-484 || std::abs(x) >= 0x1p511) continue;
      small.push_back(x);
      twin.AddSquare(x);
    }
    ExactSum squares;
    squares.AddSquares(small);
    ASSERT_TRUE(SameBits(squares.Value(), twin.Value())) << seed;
  }
}

TEST(ExactSum, SquaresOfFloatsAgreeWithCountsOfBits) {
  for (size_t n : {0, 1, 3, 1000, 70000, 140000}) {
    CounterRandom random(9, "floats");
    std::vector<float> values;
    BitCounts twin;
    for (size_t i = 0; i < n; ++i) {
      const int exponent = static_cast<int>(random.Uniform(2 * i) * 276) - 149;
      values.push_back(static_cast<float>(std::ldexp(random.Uniform(2 * i + 1) - 0.5, exponent)));
      if (i % 50 == 0) values.back() = std::numeric_limits<float>::max();
      if (i % 50 == 1) values.back() = -std::numeric_limits<float>::denorm_min();
      twin.AddSquare(static_cast<double>(values.back()));
    }
    ExactSum sum, without_largest;
    sum.AddSquares(values);
    EXPECT_TRUE(SameBits(sum.Value(), twin.Value())) << n;
    // What the largest ones hide from the rounded value is there as well.
    BitCounts rest;
    without_largest = sum;
    for (float x : values) {
      const double square = static_cast<double>(x) * static_cast<double>(x);
      if (square > 0x1p-200) without_largest.Add(-square);
      if (square <= 0x1p-200) rest.AddSquare(static_cast<double>(x));
    }
    EXPECT_TRUE(SameBits(without_largest.Value(), rest.Value())) << n;
  }
}

// More squares of one exponent than 64 bits hold.
TEST(ExactSum, BinsDoNotOverflow) {
  const std::vector<float> values(1 << 20, 0x1.fffffep0f);
  ExactSum sum;
  sum.AddSquares(values);
  EXPECT_EQ(sum.Value(), std::ldexp(0x1.fffffep0 * 0x1.fffffep0, 20));
}

TEST(ExactSum, OrderAndGroupingDoNotMatter) {
  std::vector<double> values = Numbers(400, 1000, 3);
  const std::vector<double> wanted = [&] {
    ExactSum sum;
    sum.Add(values);
    return sum.ToDigits();
  }();
  CounterRandom random(4, "order");
  for (uint64_t trial = 0; trial < 20; ++trial) {
    for (size_t i = values.size(); i > 1; --i) {
      std::swap(values[i - 1],
                values[static_cast<size_t>(random.Uniform(trial * 1000 + i) * double(i))]);
    }
    std::vector<ExactSum> parts(1 + trial);
    for (size_t i = 0; i < values.size(); ++i) parts[i % parts.size()].Add(values[i]);
    ExactSum all;
    for (const ExactSum& part : parts) all.Merge(part);
    EXPECT_EQ(all.ToDigits(), wanted) << trial;  // the whole state
  }
}

TEST(ExactSum, DigitsAddExactly) {
  constexpr int kRanks = 37;
  std::vector<double> total(ExactSum::kDigitCount), backwards = total;
  ExactSum wanted;
  std::vector<std::vector<double>> digits;
  for (uint64_t r = 0; r < kRanks; ++r) {
    const std::vector<double> values = Numbers(50, 1000, r);
    ExactSum own;
    own.Add(values);
    wanted.Add(values);
    digits.push_back(own.ToDigits());
    ASSERT_EQ(digits.back().size(), static_cast<size_t>(ExactSum::kDigitCount));
    for (double d : digits.back()) ASSERT_LE(std::abs(d), 0x1p31);
    EXPECT_EQ(ExactSum::FromDigits(digits.back()).ToDigits(), digits.back());
  }
  for (size_t i = 0; i < total.size(); ++i) {
    for (size_t r = 0; r < kRanks; ++r) {
      total[i] += digits[r][i];
      backwards[i] += digits[kRanks - 1 - r][i];
    }
  }
  EXPECT_EQ(total, backwards);
  EXPECT_EQ(ExactSum::FromDigits(total).ToDigits(), wanted.ToDigits());
  EXPECT_TRUE(SameBits(ExactSum::FromDigits(total).Value(), wanted.Value()));
}

// 2^20 accumulators with digits as large as they come.
TEST(ExactSum, DigitsOfAMillionAccumulatorsFit) {
  ExactSum one;
  for (int i = 0; i < 60; ++i) one.Add(-std::ldexp(1, 32 * i - 1074 + 31));
  std::vector<double> digits = one.ToDigits();
  EXPECT_EQ(*std::min_element(digits.begin(), digits.end()), -0x1p31);
  for (double& d : digits) d *= 0x1p20;
  ExactSum twin = one;
  for (int i = 0; i < 20; ++i) twin.Merge(twin);
  EXPECT_EQ(ExactSum::FromDigits(digits).ToDigits(), twin.ToDigits());
}

TEST(ExactSum, RemembersWhatIsNotFinite) {
  EXPECT_EQ(SumOf({1, kInfinity, -1e300}), kInfinity);
  EXPECT_EQ(SumOf({1, -kInfinity}), -kInfinity);
  EXPECT_TRUE(std::isnan(SumOf({kInfinity, -kInfinity})));
  EXPECT_TRUE(std::isnan(SumOf({kInfinity, kNan, 2})));
  for (double bad : {kInfinity, -kInfinity, kNan}) {
    ExactSum squares, other;
    std::vector<float> values(70000, 1.0f);
    values[69999] = static_cast<float>(bad);
    squares.AddSquares(values);
    const double wanted = std::isnan(bad) ? kNan : kInfinity;
    EXPECT_EQ(std::isnan(squares.Value()), std::isnan(wanted));
    EXPECT_EQ(squares.Value() == kInfinity, wanted == kInfinity);
    other.Add(3);
    other.Merge(squares);
    std::vector<double> digits = other.ToDigits();
    for (double& d : digits) d *= 2;
    EXPECT_EQ(std::isnan(ExactSum::FromDigits(digits).Value()), std::isnan(wanted));
    EXPECT_FALSE(std::isfinite(ExactSum::FromDigits(digits).Value()));
  }
  ExactSum overflow;
  overflow.AddSquares(std::vector<double>{1e200, 1});
  EXPECT_EQ(overflow.Value(), kInfinity);
}

TEST(ExactSumDeathTest, DigitsMustBeSumsOfDigits) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  std::vector<double> digits(ExactSum::kDigitCount);
  digits[5] = 0.5;
  EXPECT_DEATH(ExactSum::FromDigits(digits), "digit 5 is 0.5");
  digits[5] = kNan;
  EXPECT_DEATH(ExactSum::FromDigits(digits), "digit 5 is");
  digits.pop_back();
  EXPECT_DEATH(ExactSum::FromDigits(digits), "70 digits");
}

}  // namespace
}  // namespace choir
