#include "tensor/dtype.h"

namespace choir {

int64_t SizeOf(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return 8;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBF16:
    case DType::kF16:
      return 2;
  }
  CHECK(false) << "dtype " << static_cast<int>(dtype);
  __builtin_unreachable();
}

std::string_view Name(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return "f64";
    case DType::kF32:
      return "f32";
    case DType::kBF16:
      return "bf16";
    case DType::kF16:
      return "f16";
    case DType::kI32:
      return "i32";
  }
  CHECK(false) << "dtype " << static_cast<int>(dtype);
  __builtin_unreachable();
}

}  // namespace choir
