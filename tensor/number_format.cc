#include "tensor/number_format.h"

#include <cmath>

#include "base/check.h"

namespace choir {

std::string_view Name(NumberFormat format) {
  switch (format) {
    case NumberFormat::kBF16:
      return "bf16";
    case NumberFormat::kF16:
      return "f16";
    case NumberFormat::kE4M3:
      return "e4m3";
    case NumberFormat::kE5M2:
      return "e5m2";
    case NumberFormat::kE2M1:
      return "e2m1";
    case NumberFormat::kE8M0:
      return "e8m0";
  }
  CHECK(false) << "number format " << static_cast<int>(format);
  __builtin_unreachable();
}

double LargestValue(NumberFormat format) {
  const FormatBits f = BitsOf(format);
  const int exponent = static_cast<int>(f.largest >> f.mantissa_bits) - f.bias;
  const uint32_t mantissa = f.largest & ((1u << f.mantissa_bits) - 1);
  return std::ldexp(1 + std::ldexp(mantissa, -f.mantissa_bits), exponent);
}

double UnitRoundoff(NumberFormat format) {
  return std::ldexp(1, -BitsOf(format).mantissa_bits - 1);
}

double SmallestValue(NumberFormat format) {
  const FormatBits f = BitsOf(format);
  if (format == NumberFormat::kE8M0) return std::ldexp(1, -f.bias);
  return std::ldexp(1, 1 - f.bias - f.mantissa_bits);
}

}  // namespace choir
