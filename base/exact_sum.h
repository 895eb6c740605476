// Sums of floating-point numbers without any rounding: the same bits in every order.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace choir {

// Holds the exact sum of any finite doubles (up to 2^62 of them) as one long integer, a multiple of
// 2^-1074 (Kulisch's accumulator). Adding, merging and reading commute: only what was added counts.
// Infinities and NaN are remembered: with a NaN, or infinities of both signs, the value is NaN;
// else an infinity stays one.
class ExactSum {
 public:
  // Numbers of ToDigits.
  static constexpr int kDigitCount = 71;

  void Add(double x);
  void Add(std::span<const double> values);
  // Adds x * x for each value. Exact for every float. For doubles exact where 2^-484 <= |x| < 2^511
  // or x = 0: below, bits of a square under 2^-1074 are rounded, each square by itself, so that the
  // order still does not matter; above, a square may become infinite.
  void AddSquares(std::span<const float> values);
  void AddSquares(std::span<const double> values);
  // Adds what `other` holds.
  void Merge(const ExactSum& other);

  // The state as kDigitCount integers of magnitude 2^31 at most, so that the element-wise sums over
  // up to 2^20 accumulators are exact in double, in any order, and stand for their joint sum.
  std::vector<double> ToDigits() const;
  // From such sums; kDigitCount integers (CHECKed).
  static ExactSum FromDigits(std::span<const double> digits);

  // The sum, rounded once to the nearest double, ties to even; infinite beyond the largest.
  double Value() const;

 private:
  static constexpr int kBits = 32;  // of a digit
  // 2098 bits from 2^-1074 to 2^1024, and 62 for the count of numbers.
  static constexpr int kDigits = 68;
  enum Special { kNan, kInfinity, kMinusInfinity, kSpecials };
  static_assert(kDigits + kSpecials == kDigitCount);
  using Digits = std::array<int64_t, kDigits>;

  // Adds magnitude * 2^(position - 1074), with a sign; magnitude < 2^53.
  void AddInteger(uint64_t magnitude, int position, bool negative);
  void AddSpecial(double x);
  // Makes room for `additions` more (at most kRoom) that change a digit by less than 2^kBits each.
  void Reserve(int64_t additions);
  // The same integer with every digit but the highest in [-2^31, 2^31).
  static void Normalise(Digits& digits);

  static constexpr int64_t kRoom = int64_t{1} << 29;

  Digits digits_{};  // the sum is that of digits_[i] * 2^(kBits * i - 1074)
  std::array<bool, kSpecials> special_{};
  int64_t additions_ = 0;  // since the digits were normalised
};

}  // namespace choir
