// Fixed-width vectors for CPU kernels: 16 elements on every machine (one AVX-512 or two AVX2
// registers), so that sums have one order and results do not depend on the instruction set.
// Built on the vector extensions of GCC and Clang.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace choir {

inline constexpr int kLanes = 16;

template <class T>
struct VecType {
  typedef T Type __attribute__((vector_size(kLanes * sizeof(T))));
};
template <class T>
using Vec = typename VecType<T>::Type;

template <class T>
inline Vec<T> Load(const T* p) {
  Vec<T> v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
// The first n < kLanes elements; the rest is zero.
template <class T>
inline Vec<T> LoadPartial(const T* p, int64_t n) {
  Vec<T> v{};
  std::memcpy(&v, p, static_cast<size_t>(n) * sizeof(T));
  return v;
}
template <class T>
inline void Store(T* p, const Vec<T>& v) {
  std::memcpy(p, &v, sizeof(v));
}
template <class T>
inline void StorePartial(T* p, const Vec<T>& v, int64_t n) {
  std::memcpy(p, &v, static_cast<size_t>(n) * sizeof(T));
}
template <class T>
inline Vec<T> Splat(T x) {
  return Vec<T>{} + x;
}

// Sum of the lanes, in a fixed pairwise order.
template <class T>
inline T SumLanes(const Vec<T>& v) {
  T lanes[kLanes];
  std::memcpy(lanes, &v, sizeof(v));
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}
template <class T>
inline T MaxLanes(const Vec<T>& v) {
  T lanes[kLanes];
  std::memcpy(lanes, &v, sizeof(v));
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i)
      lanes[i] = lanes[i] > lanes[i + width] ? lanes[i] : lanes[i + width];
  }
  return lanes[0];
}
template <class T>
inline Vec<T> Max(const Vec<T>& a, const Vec<T>& b) {
  return a > b ? a : b;
}
template <class T>
inline Vec<T> Min(const Vec<T>& a, const Vec<T>& b) {
  return a < b ? a : b;
}

// e^x. Float: range reduction by log 2 in two parts and a degree-6 polynomial (Cephes expf's
// scheme), within 2 units in the last place on [-87, 88]; 0 below, clamped above. Double: std::exp.
inline Vec<float> Exp(Vec<float> x) {
  using Int = VecType<int32_t>::Type;
  const Vec<float> low = Splat(-87.33654f), high = Splat(88.37626f);
  const auto underflow = x < low;
  // In this order a NaN stays one: comparisons with it are false, and both then keep x.
  x = Min<float>(high, Max<float>(low, x));
  const Vec<float> magic = Splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Vec<float> shifted = x * 1.44269504f + magic;
  const Vec<float> n = shifted - magic;
  Vec<float> r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  Vec<float> p = Splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  Int bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  Int exponent = (bits - 0x4b400000 + 127) << 23;
  Vec<float> scale;
  std::memcpy(&scale, &exponent, sizeof(scale));
  const Vec<float> y = p * scale;
  return underflow ? Vec<float>{} : y;
}
inline Vec<double> Exp(Vec<double> x) {
  for (int i = 0; i < kLanes; ++i) x[i] = std::exp(x[i]);
  return x;
}

// 1 / (1 + e^-x), without overflow.
template <class T>
inline Vec<T> Sigmoid(const Vec<T>& x) {
  return T(1) / (T(1) + Exp(-x));
}

// Calls body(offset, load, store) for every vector of [0, n): `load(p)` reads p[offset...] and
// `store(p, v)` writes it, whole or partial at the tail.
template <class T, class Body>
inline void ForEachVec(int64_t n, Body&& body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    body(
        i, [&](const T* p) { return Load(p + i); },
        [&](T* p, const Vec<T>& v) { Store(p + i, v); });
  }
  if (i < n) {
    body(
        i, [&](const T* p) { return LoadPartial(p + i, n - i); },
        [&](T* p, const Vec<T>& v) { StorePartial(p + i, v, n - i); });
  }
}

// sum(a[i] * b[i]) in the fixed order.
template <class T>
inline T Dot(const T* a, const T* b, int64_t n) {
  Vec<T> sum{};
  ForEachVec<T>(n, [&](int64_t, auto load, auto) { sum += load(a) * load(b); });
  return SumLanes<T>(sum);
}
template <class T>
inline T SumOf(const T* a, int64_t n) {
  Vec<T> sum{};
  ForEachVec<T>(n, [&](int64_t, auto load, auto) { sum += load(a); });
  return SumLanes<T>(sum);
}

}  // namespace choir
