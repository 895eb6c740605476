#include "tensor/float16.h"

#include <bit>
#include <cmath>

namespace choir {
namespace {

// Drops the low `shift` bits of `x`, rounding to nearest, ties to even.
uint32_t RoundShift(uint32_t x, int shift) {
  const uint32_t half = (1u << (shift - 1)) - 1;
  return (x + half + ((x >> shift) & 1)) >> shift;
}

}  // namespace

BFloat16 ToBFloat16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return {static_cast<uint16_t>((u >> 16) | 0x40)};  // quiet, never infinity
  return {static_cast<uint16_t>(RoundShift(u, 16))};
}

float ToFloat(BFloat16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }

Float16 ToFloat16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  const uint16_t sign = static_cast<uint16_t>((u >> 16) & 0x8000);
  const uint32_t magnitude = u & 0x7fffffff;
  if (magnitude > 0x7f800000) {
    return {static_cast<uint16_t>(sign | 0x7e00 | ((magnitude >> 13) & 0x3ff))};
  }
  if (magnitude >= 0x477ff000) return {static_cast<uint16_t>(sign | 0x7c00)};  // rounds past 65504
  if (magnitude >= 0x38800000) {  // normal: rebias the exponent from 127 to 15
    return {static_cast<uint16_t>(sign | RoundShift(magnitude - 0x38000000, 13))};
  }
  if (magnitude < 0x33000000) return {sign};  // below half of the smallest subnormal
  const int exponent = static_cast<int>(magnitude >> 23);
  const uint32_t mantissa = (magnitude & 0x7fffff) | 0x800000;
  return {static_cast<uint16_t>(sign | RoundShift(mantissa, 126 - exponent))};
}

float ToFloat(Float16 x) {
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000) << 16;
  const uint32_t exponent = (x.bits >> 10) & 0x1f;
  const uint32_t mantissa = x.bits & 0x3ff;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000 | (mantissa << 13));
  if (exponent == 0) {
    const float value = std::ldexp(static_cast<float>(mantissa), -24);
    return sign ? -value : value;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

}  // namespace choir
