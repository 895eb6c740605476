// Targets to update, and the rules as their papers write them, element by element in double.
#pragma once

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "optim/optimizer.h"
#include "parallel/mesh/mesh.h"
#include "tensor/cast.h"

namespace choir {

// A parameter of one rank, drawn from its name.
inline Parameter DrawParameter(const std::string& name, const Shape& shape,
                               DType dtype = DType::kF32) {
  Parameter p;
  p.name = name;
  p.value = Tensor::Zeros(shape, {dtype});
  p.grad = Tensor::Zeros(shape, {dtype == DType::kF64 ? DType::kF64 : DType::kF32});
  const CounterRandom random(3, name);
  for (int64_t i = 0; i < shape.NumElements(); ++i) {
    const double x = random.Normal(static_cast<uint64_t>(i));
    if (dtype == DType::kF64) p.value.data<double>()[i] = x;
    if (dtype == DType::kF32) p.value.data<float>()[i] = static_cast<float>(x);
    if (dtype == DType::kBF16) p.value.data<BFloat16>()[i] = ToBFloat16(static_cast<float>(x));
  }
  return p;
}

inline double GradientAt(const std::string& name, int64_t step, int64_t index) {
  return CounterRandom(4, name, static_cast<uint64_t>(step)).Normal(static_cast<uint64_t>(index));
}

inline void DrawGradient(const Parameter& p, int64_t step) {
  for (int64_t i = 0; i < p.grad.NumElements(); ++i) {
    const double g = GradientAt(p.name, step, i);
    if (p.grad.dtype() == DType::kF64) {
      p.grad.data<double>()[i] = g;
    } else {
      p.grad.data<float>()[i] = static_cast<float>(g);
    }
  }
}

inline std::vector<double> AsDoubles(const Tensor& x) {
  std::vector<double> values;
  for (int64_t i = 0; i < x.NumElements(); ++i) {
    if (x.dtype() == DType::kF64) values.push_back(x.data<double>()[i]);
    if (x.dtype() == DType::kF32) values.push_back(static_cast<double>(x.data<float>()[i]));
    if (x.dtype() == DType::kBF16) {
      values.push_back(static_cast<double>(ToFloat(x.data<BFloat16>()[i])));
    }
  }
  return values;
}

struct RuleTwin {
  double w, m = 0, v = 0;

  void Step(double g, const RuleStep& s) {
    const ParameterSettings& p = s.settings;
    g = std::clamp(g * s.grad_scale, -s.clip_value, s.clip_value);
    w -= s.lr * p.weight_decay * w;
    switch (p.kind) {
      case OptimKind::kAdamW: {
        m = p.beta1 * m + (1 - p.beta1) * g;
        v = p.beta2 * v + (1 - p.beta2) * g * g;
        const double m_hat = m / (1 - std::pow(p.beta1, s.step));
        const double v_hat = v / (1 - std::pow(p.beta2, s.step));
        w -= s.lr * m_hat / (std::sqrt(v_hat) + p.eps);
        return;
      }
      case OptimKind::kLion: {
        const double c = p.beta1 * m + (1 - p.beta1) * g;
        w -= s.lr * static_cast<double>((c > 0) - (c < 0));
        m = p.beta2 * m + (1 - p.beta2) * g;
        return;
      }
      case OptimKind::kSgd:
        m = p.beta1 * m + g;
        w -= s.lr * (s.nesterov ? g + p.beta1 * m : m);
        return;
      default:
        CHECK(false);
    }
  }
};

}  // namespace choir
