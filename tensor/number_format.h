// Number formats of 16 bits and fewer.
//
// bfloat16; IEEE 754 binary16; E4M3 and E5M2 of the OCP 8-bit Floating Point Specification (OFP8)
// 1.0; E2M1 and the scales E8M0 of the OCP Microscaling Formats (MX) Specification 1.0.
#pragma once

#include <cstdint>
#include <string_view>

namespace choir {

enum class NumberFormat : uint8_t { kBF16, kF16, kE4M3, kE5M2, kE2M1, kE8M0 };

// "bf16", "f16", "e4m3", "e5m2", "e2m1", "e8m0".
std::string_view Name(NumberFormat format);

// A code is sign, exponent field E, mantissa field M, from its highest bit. Its magnitude is
// 2^(E - bias) (1 + M / 2^mantissa_bits) for E > 0, and 2^(1 - bias) M / 2^mantissa_bits for E = 0,
// but for the codes of infinity and NaN. E8M0 differs: no sign, no zero, always 2^(E - bias).
struct FormatBits {
  int exponent_bits, mantissa_bits, bias;
  // Codes without sign. Infinity, NaN: 0 where there is none. With an infinity, all codes above it
  // are NaN, and `nan` is the one that casts make.
  uint32_t largest, infinity, nan;

  constexpr int bits() const { return 1 + exponent_bits + mantissa_bits; }
};

constexpr FormatBits BitsOf(NumberFormat format) {
  switch (format) {
    case NumberFormat::kBF16:
      return {8, 7, 127, 0x7f7f, 0x7f80, 0x7fc0};
    case NumberFormat::kF16:
      return {5, 10, 15, 0x7bff, 0x7c00, 0x7e00};
    case NumberFormat::kE4M3:  // 448; all exponent bits and all mantissa bits set is NaN
      return {4, 3, 7, 0x7e, 0, 0x7f};
    case NumberFormat::kE5M2:  // 57344
      return {5, 2, 15, 0x7b, 0x7c, 0x7e};
    case NumberFormat::kE2M1:  // 6
      return {2, 1, 1, 7, 0, 0};
    case NumberFormat::kE8M0:  // 2^127
      return {8, 0, 127, 254, 0, 255};
  }
  __builtin_unreachable();
}

// The largest finite value.
double LargestValue(NumberFormat format);
// Half the distance from 1 to the next value: no value between the smallest normal and the largest
// is rounded by more than this part of itself.
double UnitRoundoff(NumberFormat format);
// The smallest value above 0 (E8M0: the smallest value).
double SmallestValue(NumberFormat format);

}  // namespace choir
