#include "base/exact_sum.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace choir {
namespace {

constexpr int kMantissaBits = 52, kExponents = 0x7ff;  // of a double
constexpr int kLowest = -1074;                         // the exponent of a double's last bit
constexpr double kDigitLimit = 0x1p51;                 // 2^20 digits of 2^31

// Squares of floats are binned by exponent: a square of a 24-bit integer has 48 bits, so that 2^16
// of them fit into 64. Four sets of bins, because neighbours often have the same exponent and would
// wait for each other.
constexpr int kFloatMantissaBits = 23, kFloatExponents = 256, kSets = 4;
constexpr size_t kBlock = size_t{1} << 16;

// digits = digits, carried so that each but the last is in [low, low + 2^bits).
template <size_t kCount>
void Carry(std::array<int64_t, kCount>& digits, int bits, int64_t low) {
  for (size_t i = 0; i + 1 < kCount; ++i) {
    const int64_t carry = (digits[i] - low) >> bits;  // rounds down
    digits[i] -= carry * (int64_t{1} << bits);
    digits[i + 1] += carry;
  }
}

// Adds the squares of mantissas to the bin of their exponent; false if a value is not finite.
bool BinSquares(std::span<const float> values, uint64_t* bins) {
  uint32_t largest = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(values[i]) & 0x7fffffff;
    const uint32_t exponent = bits >> kFloatMantissaBits;
    const uint32_t hidden = exponent > 0 ? uint32_t{1} << kFloatMantissaBits : 0;
    const uint64_t integer = (bits & ((uint32_t{1} << kFloatMantissaBits) - 1)) | hidden;
    bins[i % kSets * kFloatExponents + exponent] += integer * integer;
    largest = std::max(largest, exponent);
  }
  return largest < kFloatExponents - 1;
}

}  // namespace

void ExactSum::Normalise(Digits& digits) { Carry(digits, kBits, -(int64_t{1} << (kBits - 1))); }

void ExactSum::Reserve(int64_t additions) {
  if (additions_ + additions > kRoom) {
    Normalise(digits_);
    additions_ = 0;
  }
  additions_ += additions;
}

void ExactSum::AddInteger(uint64_t magnitude, int position, bool negative) {
  const auto digit = static_cast<size_t>(position / kBits);
  const auto shifted = static_cast<unsigned __int128>(magnitude) << (position % kBits);
  for (size_t i = 0; i < 3; ++i) {  // 53 bits and a shift below 32: at most 84
    const auto part =
        static_cast<int64_t>(static_cast<uint32_t>(shifted >> (kBits * static_cast<int>(i))));
    if (part != 0) digits_[digit + i] += negative ? -part : part;
  }
}

void ExactSum::AddSpecial(double x) {
  special_[std::isnan(x) ? kNan : x > 0 ? kInfinity : kMinusInfinity] = true;
}

void ExactSum::Add(double x) {
  const auto bits = std::bit_cast<uint64_t>(x);
  const int exponent = static_cast<int>(bits >> kMantissaBits & kExponents);
  const uint64_t fraction = bits & ((uint64_t{1} << kMantissaBits) - 1);
  if (exponent == kExponents) return AddSpecial(x);
  Reserve(1);
  // Subnormal numbers have the exponent of the smallest normal ones and no hidden bit.
  const uint64_t hidden = exponent > 0 ? uint64_t{1} << kMantissaBits : 0;
  AddInteger(fraction | hidden, std::max(exponent, 1) - 1, bits >> 63);
}

void ExactSum::Add(std::span<const double> values) {
  for (double x : values) Add(x);
}

void ExactSum::AddSquares(std::span<const float> values) {
  for (size_t begin = 0; begin < values.size(); begin += kBlock) {
    const std::span<const float> block =
        values.subspan(begin, std::min(kBlock, values.size() - begin));
    uint64_t bins[kSets * kFloatExponents] = {};
    if (!BinSquares(block, bins)) {
      for (float x : block) {
        if (!std::isfinite(x)) AddSpecial(static_cast<double>(x) * static_cast<double>(x));
      }
    }
    Reserve(2 * kSets * kFloatExponents);
    for (int i = 0; i < kSets * kFloatExponents; ++i) {
      const int exponent = std::max(i % kFloatExponents, 1);
      if (bins[i] == 0 || exponent == kFloatExponents - 1) continue;
      // An integer times 2^(exponent - 150), squared. In two parts of less than 53 bits.
      const int position = 2 * (exponent - 150) - kLowest;
      AddInteger(bins[i] & 0xffffffff, position, false);
      AddInteger(bins[i] >> 32, position + 32, false);
    }
  }
}

void ExactSum::AddSquares(std::span<const double> values) {
  for (double x : values) {
    const double square = x * x;
    Add(square);
    if (std::isfinite(square)) Add(std::fma(x, x, -square));  // the rest, exactly
  }
}

void ExactSum::Merge(const ExactSum& other) {
  Digits digits = other.digits_;
  Normalise(digits);
  Reserve(1);
  for (size_t i = 0; i < kDigits; ++i) digits_[i] += digits[i];
  for (size_t i = 0; i < kSpecials; ++i) special_[i] |= other.special_[i];
}

std::vector<double> ExactSum::ToDigits() const {
  Digits digits = digits_;
  Normalise(digits);
  std::vector<double> result(digits.begin(), digits.end());
  result.insert(result.end(), special_.begin(), special_.end());
  return result;
}

ExactSum ExactSum::FromDigits(std::span<const double> digits) {
  CHECK(digits.size() == kDigitCount) << digits.size() << " digits";
  ExactSum sum;
  for (size_t i = 0; i < kDigits; ++i) {
    CHECK(std::abs(digits[i]) <= kDigitLimit && digits[i] == std::trunc(digits[i]))
        << "digit " << i << " is " << digits[i];
    sum.digits_[i] = static_cast<int64_t>(digits[i]);
  }
  Normalise(sum.digits_);
  for (size_t i = 0; i < kSpecials; ++i) sum.special_[i] = digits[kDigits + i] > 0;
  return sum;
}

double ExactSum::Value() const {
  const double infinity = std::numeric_limits<double>::infinity();
  if (special_[kNan] || (special_[kInfinity] && special_[kMinusInfinity])) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  if (special_[kInfinity]) return infinity;
  if (special_[kMinusInfinity]) return -infinity;
  Digits digits = digits_;
  Normalise(digits);  // now the highest digit that is not zero has the sign of the sum
  const auto top = std::find_if(digits.rbegin(), digits.rend(), [](int64_t d) { return d != 0; });
  if (top == digits.rend()) return 0;
  const bool negative = *top < 0;
  if (negative) {
    for (int64_t& digit : digits) digit = -digit;
  }
  Carry(digits, kBits, 0);  // bits of the magnitude
  int high = kDigits - 1;
  while (digits[static_cast<size_t>(high)] == 0) --high;
  auto digit = [&](int i) {
    return i < 0 ? uint64_t{0} : static_cast<uint64_t>(digits[static_cast<size_t>(i)]);
  };
  // The highest three digits hold at least 65 bits; of what is below, only whether it is zero.
  const auto window =
      static_cast<unsigned __int128>(digit(high)) << 64 | digit(high - 1) << 32 | digit(high - 2);
  bool sticky = false;
  for (int i = 0; i < high - 2; ++i) sticky |= digits[static_cast<size_t>(i)] != 0;
  const int bits = 64 + static_cast<int>(std::bit_width(digit(high)));
  // The exponent of the window's last bit. It may be below that of any double, but then the bits
  // there are zero, so that a subnormal sum loses nothing.
  const int exponent = kBits * (high - 2) + kLowest;
  const int drop = bits - (kMantissaBits + 1);
  auto mantissa = static_cast<uint64_t>(window >> drop);
  const auto rest = window & ((static_cast<unsigned __int128>(1) << drop) - 1);
  const auto half = static_cast<unsigned __int128>(1) << (drop - 1);
  if (rest > half || (rest == half && (sticky || mantissa % 2 == 1))) ++mantissa;
  const double value = std::ldexp(static_cast<double>(mantissa), exponent + drop);
  return negative ? -value : value;
}

}  // namespace choir
