#include "tensor/tolerance.h"

#include <cmath>

namespace choir {

double UnitRoundoff(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return std::ldexp(1, -53);
    case DType::kF32:
      return std::ldexp(1, -24);
    case DType::kBF16:
      return std::ldexp(1, -8);
    case DType::kF16:
      return std::ldexp(1, -11);
    case DType::kI32:
      return 0;
  }
  CHECK(false) << "dtype " << dtype;
  __builtin_unreachable();
}

double ErrorBound(DType dtype, int64_t length) {
  return 8 * std::sqrt(static_cast<double>(length + 16)) * UnitRoundoff(dtype);
}

}  // namespace choir
