#include "optim/adamw.h"

#include <cmath>

#include "ops/elementwise.h"
#include "ops/launch.h"
#include "ops/parallel_for.h"
#include "ops/simd.h"

namespace choir {
namespace {

template <class T>
Vec<T> Sqrt(Vec<T> x) {
  for (int i = 0; i < kLanes; ++i) x[i] = std::sqrt(x[i]);
  return x;
}

template <class T>
struct Coefficients {
  T beta1, beta2, rest1, rest2, grad_scale, keep, step_size, inverse_root, eps;
};

template <class T>
Coefficients<T> Prepare(const AdamWStep& s) {
  const double t = static_cast<double>(s.step);
  const double correction1 = 1 - std::pow(s.beta1, t), correction2 = 1 - std::pow(s.beta2, t);
  return {static_cast<T>(s.beta1),
          static_cast<T>(s.beta2),
          static_cast<T>(1 - s.beta1),
          static_cast<T>(1 - s.beta2),
          static_cast<T>(s.grad_scale),
          static_cast<T>(1 - s.lr * s.weight_decay),
          static_cast<T>(s.lr / correction1),
          static_cast<T>(1 / std::sqrt(correction2)),
          static_cast<T>(s.eps)};
}

template <class T>
void UpdateRange(T* w, const T* g, T* m, T* v, int64_t n, const Coefficients<T>& c) {
  ForEachVec<T>(n, [&](int64_t, auto load, auto store) {
    const Vec<T> grad = load(g) * c.grad_scale;
    const Vec<T> first = c.beta1 * load(m) + c.rest1 * grad;
    const Vec<T> second = c.beta2 * load(v) + c.rest2 * grad * grad;
    const Vec<T> denominator = Sqrt<T>(second) * c.inverse_root + c.eps;
    store(m, first);
    store(v, second);
    // Padding lanes of a partial vector may divide zero by zero; they are not stored.
    store(w, load(w) * c.keep - c.step_size * first / denominator);
  });
}

}  // namespace

void AdamWUpdate(const Tensor& w, const Tensor& g, const Tensor& m, const Tensor& v,
                 const AdamWStep& step) {
  CHECK(w.shape() == g.shape());
  Launch(w.device(), "adamw", [&] {
    DispatchFloat(w.dtype(), [&]<class T>() {
      const Coefficients<T> c = Prepare<T>(step);
      T *pw = w.data<T>(), *pm = m.data<T>(), *pv = v.data<T>();
      const T* pg = g.data<T>();
      ParallelRanges(w.NumElements(), kElementGrain, [&](int64_t begin, int64_t end) {
        UpdateRange(pw + begin, pg + begin, pm + begin, pv + begin, end - begin, c);
      });
    });
  });
}

namespace {

std::vector<OptimTarget> WholeParameters(const std::vector<Parameter*>& parameters) {
  std::vector<OptimTarget> targets;
  for (const Parameter* p : parameters) {
    targets.push_back({p, p->value, p->grad, p->value.shape().rank() > 1});
  }
  return targets;
}

}  // namespace

AdamW::AdamW(const OptimConfig& config, const std::vector<Parameter*>& parameters)
    : AdamW(config, WholeParameters(parameters)) {}

AdamW::AdamW(const OptimConfig& config, std::vector<OptimTarget> targets) : config_(config) {
  for (const OptimTarget& target : targets) {
    const TensorOptions options = target.value.options(MemoryCategory::kOptimizer);
    const Shape& shape = target.value.shape();
    State state{target, Tensor::Zeros(shape, options), Tensor::Zeros(shape, options), 1, 0};
    if (state.target.matrix) state.weight_decay = config.weight_decay;
    for (const ParameterGroupConfig& group : config.groups) {
      if (!MatchesPattern(state.target.parameter->name, group.pattern)) continue;
      state.lr_scale = group.lr_scale;
      state.weight_decay = group.weight_decay.value_or(state.weight_decay);
      break;
    }
    states_.push_back(std::move(state));
  }
}

void AdamW::Step(double lr, double grad_scale) {
  ++step_;
  for (const State& s : states_) {
    AdamWUpdate(s.target.value, s.target.grad, s.m, s.v,
                {lr * s.lr_scale, config_.beta1, config_.beta2, config_.eps, s.weight_decay,
                 grad_scale, step_});
  }
}

bool MatchesPattern(std::string_view name, std::string_view pattern) {
  size_t n = 0, p = 0, star = std::string_view::npos, resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {  // let the last '*' take one more character
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

double GlobalGradNorm(std::span<Parameter* const> parameters) {
  double sum = 0;
  for (const Parameter* p : parameters) sum += SumOfSquares(p->grad);
  return std::sqrt(sum);
}

double ClipScale(double norm, std::optional<double> limit) {
  return limit && norm > *limit ? *limit / norm : 1;
}

}  // namespace choir
