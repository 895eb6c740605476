#include "parallel/comm/reduce.h"

#include <cstring>
#include <type_traits>

#include "base/check.h"
#include "ops/numerics.h"
#include "ops/simd.h"

namespace choir {
namespace {

// The larger of each pair, or NaN.
template <class T>
Vec<T> Larger(const Vec<T>& x, const Vec<T>& y) {
  if constexpr (std::is_floating_point_v<T>) {
    return (x > y) | (x != x) ? x : y;
  } else {
    return x > y ? x : y;
  }
}

// Loads and stores of ops/simd.h are memory copies, so that addresses need no alignment.
template <class T>
void CombineElements(ReduceOp op, T* to, const T* a, const T* b, int64_t n) {
  if (op == ReduceOp::kSum) {
    ForEachVec<T>(n, [&](int64_t, auto load, auto store) { store(to, load(a) + load(b)); });
    return;
  }
  ForEachVec<T>(n, [&](int64_t, auto load, auto store) { store(to, Larger<T>(load(a), load(b))); });
}

template <class T>
void CombineAs(ReduceOp op, std::byte* to, const std::byte* a, const std::byte* b, int64_t bytes) {
  CombineElements<T>(op, reinterpret_cast<T*>(to), reinterpret_cast<const T*>(a),
                     reinterpret_cast<const T*>(b), bytes / static_cast<int64_t>(sizeof(T)));
}

}  // namespace

void Combine(const Reduction& reduction, std::byte* to, const std::byte* a, const std::byte* b,
             int64_t bytes) {
  switch (reduction.dtype) {
    case DType::kF32:
      return CombineAs<float>(reduction.op, to, a, b, bytes);
    case DType::kF64:
      return CombineAs<double>(reduction.op, to, a, b, bytes);
    case DType::kI32:
      return CombineAs<int32_t>(reduction.op, to, a, b, bytes);
    default:
      CHECK(false) << "no collective sums " << reduction.dtype;
  }
}

void CombineTree(const Reduction& reduction, std::byte* to, std::span<std::byte* const> parts,
                 int64_t bytes) {
  if (parts.size() == 1) {
    if (to != parts[0]) std::memcpy(to, parts[0], static_cast<size_t>(bytes));
    return;
  }
  const size_t mid = static_cast<size_t>(PieceBegin(static_cast<int64_t>(parts.size()), 2, 1));
  const std::span left = parts.first(mid), right = parts.subspan(mid);
  CombineTree(reduction, left[0], left, bytes);
  CombineTree(reduction, right[0], right, bytes);
  Combine(reduction, to, left[0], right[0], bytes);
}

void CombineRing(const Reduction& reduction, std::byte* to, std::span<std::byte* const> parts,
                 int first, int64_t bytes) {
  const size_t n = parts.size(), begin = static_cast<size_t>(first);
  std::byte* const sum = parts[begin];
  for (size_t i = 1; i + 1 < n; ++i) Combine(reduction, sum, sum, parts[(begin + i) % n], bytes);
  Combine(reduction, to, sum, parts[(begin + n - 1) % n], bytes);
}

}  // namespace choir
