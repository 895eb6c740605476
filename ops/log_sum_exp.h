// Pieces of a softmax over one row, vectorised; the row should fit in a cache near the core.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/simd.h"

namespace choir {

// The first n < kLanes elements; the other lanes hold `fill`.
template <class T>
inline Vec<T> LoadPartialOr(const T* p, int64_t n, T fill) {
  Vec<T> v = LoadPartial(p, n);
  for (int64_t i = n; i < kLanes; ++i) v[i] = fill;
  return v;
}

// Largest of n >= 1 elements.
template <class T>
inline T RowMax(const T* x, int64_t n) {
  constexpr T kLowest = -std::numeric_limits<T>::infinity();
  Vec<T> high[4] = {Splat(kLowest), Splat(kLowest), Splat(kLowest), Splat(kLowest)};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int j = 0; j < 4; ++j) high[j] = Max<T>(Load(x + i + j * kLanes), high[j]);
  }
  for (; i + kLanes <= n; i += kLanes) high[0] = Max<T>(Load(x + i), high[0]);
  if (i < n) high[0] = Max<T>(LoadPartialOr(x + i, n - i, kLowest), high[0]);
  return MaxLanes<T>(Max<T>(Max<T>(high[0], high[1]), Max<T>(high[2], high[3])));
}

// sum(e^(x - shift)): in T inside blocks of 1024 elements, in double over the blocks.
// With `kStore`, y = e^(x - shift); y may be x.
template <bool kStore, class T>
inline double RowExpSum(const T* x, T shift, T* y, int64_t n) {
  constexpr int64_t kBlock = 1024;
  double sum = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = std::min(n, begin + kBlock);
    Vec<T> lanes{};
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      const Vec<T> e = Exp(Load(x + i) - shift);
      lanes += e;
      if constexpr (kStore) Store(y + i, e);
    }
    if (i < end) {
      const T low = -std::numeric_limits<T>::infinity();
      const Vec<T> e = Exp(LoadPartialOr(x + i, end - i, low) - shift);
      lanes += e;
      if constexpr (kStore) StorePartial(y + i, e, end - i);
    }
    sum += static_cast<double>(SumLanes<T>(lanes));
  }
  return sum;
}

// log(sum(e^x)).
template <class T>
inline double RowLogSumExp(const T* x, int64_t n) {
  const T high = RowMax(x, n);
  return static_cast<double>(high) +
         std::log(RowExpSum<false>(x, high, static_cast<T*>(nullptr), n));
}

// x *= factor.
template <class T>
inline void RowScale(T* x, T factor, int64_t n) {
  ForEachVec<T>(n, [&](int64_t, auto load, auto store) {
    store(x, load(static_cast<const T*>(x)) * factor);
  });
}

}  // namespace choir
