// The 16-bit storage formats: bfloat16 (8 exponent bits) and IEEE 754 binary16 (5 exponent bits).
// Conversion from float rounds to nearest, ties to even; NaN stays NaN, overflow becomes infinity.
#pragma once

#include <cstdint>

namespace choir {

struct BFloat16 {
  uint16_t bits = 0;
  friend bool operator==(BFloat16, BFloat16) = default;
};

struct Float16 {
  uint16_t bits = 0;
  friend bool operator==(Float16, Float16) = default;
};

BFloat16 ToBFloat16(float x);
Float16 ToFloat16(float x);
float ToFloat(BFloat16 x);
float ToFloat(Float16 x);

}  // namespace choir
