// The inner loop of InvariantGemm: one small block of the result, kept in registers.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))
#include <immintrin.h>
#endif

namespace choir {

// One register. Every element of the result is a sum of its own, so its bits do not depend on this
// width.
#if defined(__AVX512F__)
inline constexpr int kRegisterBytes = 64;
inline constexpr int64_t kBlockRows = 12;  // 24 of 32 registers hold sums
#else
inline constexpr int kRegisterBytes = 32;
inline constexpr int64_t kBlockRows = 6;  // 12 of 16
#endif

template <class T>
struct RegisterType {
  typedef T Type __attribute__((vector_size(kRegisterBytes)));
};
template <class T>
using Register = typename RegisterType<T>::Type;

template <class T>
inline constexpr int64_t kRegisterLanes = kRegisterBytes / static_cast<int64_t>(sizeof(T));
template <class T>
inline constexpr int64_t kBlockColumns = 2 * kRegisterLanes<T>;

// a * b + c, rounded once in every build: intrinsics, because the compiler fuses an expression only
// above -O1. Without such an instruction std::fma does the same in software.
#if defined(__AVX512F__)
inline Register<float> Broadcast(float x) { return _mm512_set1_ps(x); }
inline Register<double> Broadcast(double x) { return _mm512_set1_pd(x); }
inline Register<float> Fma(Register<float> a, Register<float> b, Register<float> c) {
  return _mm512_fmadd_ps(a, b, c);
}
inline Register<double> Fma(Register<double> a, Register<double> b, Register<double> c) {
  return _mm512_fmadd_pd(a, b, c);
}
#elif defined(__AVX2__) && defined(__FMA__)
inline Register<float> Broadcast(float x) { return _mm256_set1_ps(x); }
inline Register<double> Broadcast(double x) { return _mm256_set1_pd(x); }
inline Register<float> Fma(Register<float> a, Register<float> b, Register<float> c) {
  return _mm256_fmadd_ps(a, b, c);
}
inline Register<double> Fma(Register<double> a, Register<double> b, Register<double> c) {
  return _mm256_fmadd_pd(a, b, c);
}
#else
inline Register<float> Broadcast(float x) { return x - Register<float>{}; }
inline Register<double> Broadcast(double x) { return x - Register<double>{}; }
inline Register<float> Fma(Register<float> a, Register<float> b, Register<float> c) {
  for (int i = 0; i < kRegisterLanes<float>; ++i) c[i] = std::fma(a[i], b[i], c[i]);
  return c;
}
inline Register<double> Fma(Register<double> a, Register<double> b, Register<double> c) {
  for (int i = 0; i < kRegisterLanes<double>; ++i) c[i] = std::fma(a[i], b[i], c[i]);
  return c;
}
#endif

// sum[r, c] = fma(a[k, r], b[k, c], sum[r, c]) for each of `depth` steps k, ascending, from zero if
// `fresh`: a is [depth, kBlockRows], b [depth, kBlockColumns], sum [kBlockRows, kBlockColumns].
template <class T>
inline void MultiplyBlock(int64_t depth, const T* a, const T* b, bool fresh, T* sum) {
  constexpr int64_t kLanesOf = kRegisterLanes<T>;
  Register<T> acc[kBlockRows][2] = {};
  if (!fresh) std::memcpy(acc, sum, sizeof(acc));
  for (int64_t k = 0; k < depth; ++k, a += kBlockRows, b += kBlockColumns<T>) {
    Register<T> b0, b1;
    std::memcpy(&b0, b, sizeof(b0));
    std::memcpy(&b1, b + kLanesOf, sizeof(b1));
#pragma GCC unroll 12
    for (int64_t r = 0; r < kBlockRows; ++r) {
      const Register<T> x = Broadcast(a[r]);
      acc[r][0] = Fma(x, b0, acc[r][0]);
      acc[r][1] = Fma(x, b1, acc[r][1]);
    }
  }
  std::memcpy(sum, acc, sizeof(acc));
}

}  // namespace choir
