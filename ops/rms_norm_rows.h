// One row of RMS normalisation on the CPU, shared by the ops that contain it.
#pragma once

#include <cmath>
#include <cstdint>

#include "ops/simd.h"

namespace choir {

// 1 / sqrt(mean of x^2 + eps).
template <class T>
inline T RmsScale(const T* x, int64_t n, double eps) {
  const double mean = static_cast<double>(Dot(x, x, n)) / static_cast<double>(n);
  return static_cast<T>(1 / std::sqrt(mean + eps));
}

// y = x * scale * w; y may be x.
template <class T>
inline void ScaleRow(const T* x, T scale, const T* w, T* y, int64_t n) {
  ForEachVec<T>(n, [&](int64_t, auto load, auto store) { store(y, load(x) * scale * load(w)); });
}

// The gradient of y = x * RmsScale(x) * w: dx = dy * w * scale - x * scale^3 / n * sum(dy * w * x)
// (+ `add` if not null), and dw += dy * x * scale. dx may be dy.
template <class T>
struct RmsRowGrad {
  int64_t n;
  double eps;
  const T* w;
  T* dw;

  void operator()(const T* x, const T* dy, const T* add, T* dx) const {
    const T scale = RmsScale(x, n, eps);
    Vec<T> sum{};
    ForEachVec<T>(n, [&](int64_t, auto load, auto) { sum += load(dy) * load(w) * load(x); });
    const T pull = SumLanes<T>(sum) * scale * scale * scale / static_cast<T>(n);
    ForEachVec<T>(n, [&](int64_t, auto load, auto store) {
      const Vec<T> g = load(dy), scaled = load(x) * scale;
      store(dw, load(dw) + g * scaled);
      Vec<T> out = g * load(w) * scale - load(x) * pull;
      if (add != nullptr) out += load(add);
      store(dx, out);
    });
  }
};

}  // namespace choir
