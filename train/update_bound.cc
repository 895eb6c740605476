#include "train/update_bound.h"

#include <algorithm>
#include <cmath>

namespace choir {

std::function<double(int64_t i)> UpdateBound(
    const UpdateError& error, const Tensor& weight,
    const std::function<Tensor(const std::string& name)>& state) {
  const ParameterSettings& s = error.settings;
  const double lr = error.lr * s.lr_scale;
  const auto rounding = [weight, roundoff = error.roundoff](int64_t i, double step) {
    return 4 * roundoff * (std::abs(static_cast<double>(weight.data<float>()[i])) + step);
  };
  switch (s.kind) {
    case OptimKind::kAdamW: {
      const double largest = std::max(1.0, (1 - s.beta1) / std::sqrt(1 - s.beta2));
      return [=, v = state("v"), eps = s.eps, wrong = error.gradient_error](int64_t i) {
        const double root = std::sqrt(static_cast<double>(v.data<float>()[i])) + eps;
        return lr * std::min(2 * largest, 4 * wrong / root) + rounding(i, lr);
      };
    }
    case OptimKind::kLion:
      return [=](int64_t i) { return 2 * lr + rounding(i, lr); };
    case OptimKind::kSgd: {
      const double wrong = lr * (1 + s.beta1) * 2 * error.gradient_error;
      return [=, m = state("m"), largest = error.gradient_largest](int64_t i) {
        const double step = std::abs(static_cast<double>(m.data<float>()[i])) + largest;
        return wrong + rounding(i, lr * step);
      };
    }
    case OptimKind::kMuon:
    case OptimKind::kFactored:
      break;
  }
  CHECK(false) << "no bound for " << EnumToString(s.kind);
  __builtin_unreachable();
}

}  // namespace choir
