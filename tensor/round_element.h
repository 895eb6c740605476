// One element of the casts of tensor/format_cast.h, to be inlined into loops: no branches that keep
// a loop from becoming vector code. E8M0 has functions of its own.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "tensor/number_format.h"

namespace choir {

inline constexpr uint32_t kFloatInfinity = 0x7f800000, kFloatMagnitude = 0x7fffffff;

// The magnitude of x in a format, before it is looked at for overflow.
struct RoundedMagnitude {
  uint32_t code;
  float value;  // of `code`, if the format went on for ever
};

// `draw` are the 16 bits of stochastic rounding; not read to nearest.
//
// With e the exponent of x, or that of the smallest normal value if e is less, neighbours lie
// q = 2^(e - mantissa_bits) apart around x. So n = x / q, rounded to an integer, is at once the
// mantissa with its leading bit (none for subnormals), and counted on from the exponents below it
// gives the code; a carry into the next exponent comes out right.
template <NumberFormat kFormat, bool kStochastic>
inline RoundedMagnitude RoundMagnitude(uint32_t magnitude, uint32_t draw) {
  constexpr FormatBits kBits = BitsOf(kFormat);
  constexpr uint32_t kMantissa = kBits.mantissa_bits;
  constexpr uint32_t kLowest = 128 - kBits.bias;  // of the smallest normal value, as float's field
  // 2^17 and more overflow in each of these formats; larger exponents would overflow here.
  constexpr uint32_t kHigh = (127 + 17) << 23;
  static_assert(kBits.bias < 16);
  const uint32_t bounded = std::min(magnitude, kHigh);
  const uint32_t exponent = std::max(bounded >> 23, kLowest);
  const auto inverse = std::bit_cast<float>((254 + kMantissa - exponent) << 23);
  const float steps = std::bit_cast<float>(bounded) * inverse;  // exact, below 2^(mantissa + 1)
  uint32_t n;
  if constexpr (kStochastic) {
    n = (static_cast<uint32_t>(static_cast<int32_t>(steps * 65536.0f)) + draw) >> 16;
  } else {
    constexpr float kInteger = 8388608.0f;  // 2^23: adding it rounds to an integer, ties to even
    n = std::bit_cast<uint32_t>(steps + kInteger) - std::bit_cast<uint32_t>(kInteger);
  }
  const auto step = std::bit_cast<float>((exponent - kMantissa) << 23);
  return {((exponent - kLowest) << kMantissa) + n,
          static_cast<float>(static_cast<int32_t>(n)) * step};
}

template <>
inline RoundedMagnitude RoundMagnitude<NumberFormat::kBF16, false>(uint32_t magnitude, uint32_t) {
  const uint32_t code = (magnitude + 0x7fff + ((magnitude >> 16) & 1)) >> 16;
  return {code, std::bit_cast<float>(code << 16)};
}
template <>
inline RoundedMagnitude RoundMagnitude<NumberFormat::kBF16, true>(uint32_t magnitude,
                                                                  uint32_t draw) {
  const uint32_t code = (magnitude + draw) >> 16;
  return {code, std::bit_cast<float>(code << 16)};
}

template <NumberFormat kFormat, bool kStochastic>
inline uint32_t EncodeElement(float x, uint32_t draw, bool saturate) {
  constexpr FormatBits kBits = BitsOf(kFormat);
  constexpr uint32_t kOverflow = kBits.infinity != 0 ? kBits.infinity
                                 : kBits.nan != 0    ? kBits.nan
                                                     : kBits.largest;
  const auto u = std::bit_cast<uint32_t>(x);
  const uint32_t magnitude = u & kFloatMagnitude;
  uint32_t code = RoundMagnitude<kFormat, kStochastic>(magnitude, draw).code;
  code = code > kBits.largest ? (saturate ? kBits.largest : kOverflow) : code;
  uint32_t nan = kBits.nan != 0 ? kBits.nan : kBits.largest;
  if constexpr (kFormat == NumberFormat::kBF16) nan = (magnitude >> 16) | 0x40;
  code = magnitude > kFloatInfinity ? nan : code;
  return code | (u >> 31) << (kBits.bits() - 1);
}

template <NumberFormat kFormat, bool kStochastic>
inline float RoundElement(float x, uint32_t draw, bool saturate) {
  constexpr FormatBits kBits = BitsOf(kFormat);
  const auto u = std::bit_cast<uint32_t>(x);
  const uint32_t magnitude = u & kFloatMagnitude;
  const RoundedMagnitude rounded = RoundMagnitude<kFormat, kStochastic>(magnitude, draw);
  constexpr uint32_t kField = (kBits.largest >> kBits.mantissa_bits) + 127 - kBits.bias;
  constexpr uint32_t kLargest = kField << 23 | (kBits.largest & ((1u << kBits.mantissa_bits) - 1))
                                                   << (23 - kBits.mantissa_bits);
  constexpr uint32_t kOverflow = kBits.infinity != 0 ? kFloatInfinity
                                 : kBits.nan != 0    ? kFloatInfinity | 0x400000
                                                     : kLargest;
  uint32_t value = std::bit_cast<uint32_t>(rounded.value);
  value = rounded.code > kBits.largest ? (saturate ? kLargest : kOverflow) : value;
  uint32_t nan = kFloatInfinity | 0x400000;
  if constexpr (kFormat == NumberFormat::kBF16) nan |= magnitude & 0xffff0000;
  value = magnitude > kFloatInfinity ? nan : value;
  return std::bit_cast<float>(value | (u & ~kFloatMagnitude));
}

template <NumberFormat kFormat>
inline float DecodeElement(uint32_t code) {
  constexpr FormatBits kBits = BitsOf(kFormat);
  constexpr int kShift = 23 - kBits.mantissa_bits;
  const uint32_t magnitude = code & ((1u << (kBits.bits() - 1)) - 1);
  const uint32_t sign = (code >> (kBits.bits() - 1) & 1) << 31;
  if constexpr (kFormat == NumberFormat::kBF16) {
    return std::bit_cast<float>(sign | magnitude << kShift);
  }
  constexpr float kStep = std::bit_cast<float>(
      static_cast<uint32_t>(128 - kBits.bias - kBits.mantissa_bits) << 23);  // of subnormal values
  const float subnormal = static_cast<float>(static_cast<int32_t>(magnitude)) * kStep;
  uint32_t value = (magnitude << kShift) + (static_cast<uint32_t>(127 - kBits.bias) << 23);
  value = magnitude < 1u << kBits.mantissa_bits ? std::bit_cast<uint32_t>(subnormal) : value;
  if constexpr (kBits.infinity != 0) {
    const uint32_t special = kFloatInfinity | magnitude << kShift;
    value = magnitude >= kBits.infinity ? special : value;
  } else if constexpr (kBits.nan != 0) {
    value = magnitude == kBits.nan ? kFloatInfinity | 0x400000 : value;
  }
  return std::bit_cast<float>(value | sign);
}

}  // namespace choir
