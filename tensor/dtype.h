// Element types of tensors. F64, F32 and I32 are computed with; BF16 and F16 are storage formats.
#pragma once

#include <cstdint>
#include <ostream>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "tensor/float16.h"

namespace choir {

enum class DType : uint8_t { kF64, kF32, kBF16, kF16, kI32 };

// Bytes of one element.
int64_t SizeOf(DType dtype);
// "f64", "f32", "bf16", "f16", "i32".
std::string_view Name(DType dtype);
inline std::ostream& operator<<(std::ostream& s, DType dtype) { return s << Name(dtype); }
inline bool IsFloat(DType dtype) { return dtype != DType::kI32; }

template <class T>
constexpr DType DTypeOf() {
  using U = std::remove_cv_t<T>;
  if constexpr (std::is_same_v<U, double>) return DType::kF64;
  if constexpr (std::is_same_v<U, float>) return DType::kF32;
  if constexpr (std::is_same_v<U, BFloat16>) return DType::kBF16;
  if constexpr (std::is_same_v<U, Float16>) return DType::kF16;
  if constexpr (std::is_same_v<U, int32_t>) return DType::kI32;
}

// Calls `f.operator()<T>()` with the C++ type of a dtype that kernels compute in.
template <class F>
decltype(auto) DispatchFloat(DType dtype, F&& f) {
  CHECK(dtype == DType::kF32 || dtype == DType::kF64) << "no kernel computes in " << dtype;
  if (dtype == DType::kF64) return std::forward<F>(f).template operator()<double>();
  return std::forward<F>(f).template operator()<float>();
}

}  // namespace choir
