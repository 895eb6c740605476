// The element-wise rules, as they act on vectors of value w, gradient g and moments m, v.
//
// A second moment in F32 holds nothing below 1.4e-45, so it loses gradients g with (1 - beta2) g^2
// below that; what it loses is at most 0.7e-45 in each step, 0.7e-45 / (1 - beta2) in all. With
// eps >= 1e-20 (kSmallestEps) that changes the divisor by less than 1.2 % for beta2 = 0.95 and 8.4
// % for 0.999, and a zero gradient divides zero by eps.
#pragma once

#include <cmath>
#include <limits>

#include "ops/simd.h"
#include "optim/settings.h"

namespace choir {

// One step's numbers for one parameter.
struct RuleStep {
  ParameterSettings settings;
  double lr = 0;          // of this parameter
  double grad_scale = 1;  // on the gradient, before everything else
  double clip_value = std::numeric_limits<double>::infinity();  // limit on |g|, after grad_scale
  bool nesterov = false;                                        // sgd
  int64_t step = 1;  // counts from one, for bias correction
};

// What all rules do: g = clamp(scale g), w = (1 - lr decay) w - ...
template <class T>
struct CommonRule {
  T grad_scale, clip_value, keep;

  explicit CommonRule(const RuleStep& s)
      : grad_scale(static_cast<T>(s.grad_scale)),
        clip_value(static_cast<T>(s.clip_value)),
        keep(static_cast<T>(1 - s.lr * s.settings.weight_decay)) {}
  Vec<T> Gradient(const Vec<T>& g) const {
    return Min<T>(Splat(clip_value), Max<T>(Splat(-clip_value), g * grad_scale));
  }
};

// m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;
// w -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps).
template <class T>
struct AdamWRule : CommonRule<T> {
  static constexpr bool kHasSecond = true;
  T beta1, beta2, rest1, rest2, step_size, inverse_root, eps;

  explicit AdamWRule(const RuleStep& s)
      : CommonRule<T>(s),
        beta1(static_cast<T>(s.settings.beta1)),
        beta2(static_cast<T>(s.settings.beta2)),
        rest1(static_cast<T>(1 - s.settings.beta1)),
        rest2(static_cast<T>(1 - s.settings.beta2)),
        step_size(static_cast<T>(s.lr / Correction(s.settings.beta1, s.step))),
        inverse_root(static_cast<T>(1 / std::sqrt(Correction(s.settings.beta2, s.step)))),
        eps(static_cast<T>(s.settings.eps)) {}
  static double Correction(double beta, int64_t step) {
    return 1 - std::pow(beta, static_cast<double>(step));
  }
  static Vec<T> Sqrt(Vec<T> x) {
    for (int i = 0; i < kLanes; ++i) x[i] = std::sqrt(x[i]);
    return x;
  }
  void operator()(Vec<T>& w, const Vec<T>& raw, Vec<T>& m, Vec<T>& v) const {
    const Vec<T> g = this->Gradient(raw);
    m = beta1 * m + rest1 * g;
    v = beta2 * v + rest2 * g * g;
    w = w * this->keep - step_size * m / (Sqrt(v) * inverse_root + eps);
  }
};

// w -= lr sign(b1 m + (1 - b1) g);  m = b2 m + (1 - b2) g.
template <class T>
struct LionRule : CommonRule<T> {
  static constexpr bool kHasSecond = false;
  T beta1, beta2, rest1, rest2, lr;

  explicit LionRule(const RuleStep& s)
      : CommonRule<T>(s),
        beta1(static_cast<T>(s.settings.beta1)),
        beta2(static_cast<T>(s.settings.beta2)),
        rest1(static_cast<T>(1 - s.settings.beta1)),
        rest2(static_cast<T>(1 - s.settings.beta2)),
        lr(static_cast<T>(s.lr)) {}
  void operator()(Vec<T>& w, const Vec<T>& raw, Vec<T>& m, Vec<T>&) const {
    const Vec<T> g = this->Gradient(raw), zero{};
    const Vec<T> c = beta1 * m + rest1 * g;
    const Vec<T> step = c > zero ? Splat(lr) : (c < zero ? Splat(-lr) : zero);
    w = w * this->keep - step;
    m = beta2 * m + rest2 * g;
  }
};

// m = b1 m + g;  w -= lr m, or with Nesterov's look ahead lr (g + b1 m).
template <class T>
struct SgdRule : CommonRule<T> {
  static constexpr bool kHasSecond = false;
  T beta1, of_gradient, of_moment;

  explicit SgdRule(const RuleStep& s)
      : CommonRule<T>(s),
        beta1(static_cast<T>(s.settings.beta1)),
        of_gradient(static_cast<T>(s.nesterov ? s.lr : 0)),
        of_moment(static_cast<T>(s.nesterov ? s.lr * s.settings.beta1 : s.lr)) {}
  void operator()(Vec<T>& w, const Vec<T>& raw, Vec<T>& m, Vec<T>&) const {
    const Vec<T> g = this->Gradient(raw);
    m = beta1 * m + g;
    w = w * this->keep - (of_gradient * g + of_moment * m);
  }
};

// Updates n elements in place; `v` is null for rules without it.
template <class T, class Rule>
void UpdateElements(const Rule& rule, int64_t n, T* w, const T* g, T* m, T* v) {
  ForEachVec<T>(n, [&](int64_t, auto load, auto store) {
    Vec<T> value = load(w), first = load(m), second{};
    if constexpr (Rule::kHasSecond) second = load(v);
    // Padding lanes of a partial vector may divide zero by zero; they are not stored.
    rule(value, load(g), first, second);
    store(m, first);
    if constexpr (Rule::kHasSecond) store(v, second);
    store(w, value);
  });
}

}  // namespace choir
