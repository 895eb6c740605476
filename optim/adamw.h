// AdamW over a list of parameters.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ops/parameter.h"
#include "optim/config.h"
#include "tensor/tensor.h"

namespace choir {

// One step's numbers for one parameter.
struct AdamWStep {
  double lr, beta1, beta2, eps, weight_decay;
  double grad_scale = 1;  // on the gradient, before everything else (clipping)
  int64_t step = 1;       // counts from one, for bias correction
};

// m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;
// w = w (1 - lr decay) - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps).
// One pass over memory. All four tensors have one shape and dtype.
void AdamWUpdate(const Tensor& w, const Tensor& g, const Tensor& m, const Tensor& v,
                 const AdamWStep& step);

// What is updated: a parameter, or this rank's shard of it.
struct OptimTarget {
  const Parameter* parameter;
  Tensor value, grad;  // same shape
  bool matrix = true;  // decays
};

class AdamW {
 public:
  // Allocates the moments (zero).
  AdamW(const OptimConfig& config, std::vector<OptimTarget> targets);
  // Of whole parameters.
  AdamW(const OptimConfig& config, const std::vector<Parameter*>& parameters);

  // Applies one update at learning rate `lr`; `grad_scale` multiplies every gradient.
  void Step(double lr, double grad_scale);

  struct State {
    OptimTarget target;
    Tensor m, v;
    double lr_scale;
    double weight_decay;
  };
  std::span<const State> states() const { return states_; }
  int64_t step() const { return step_; }
  void set_step(int64_t step) { step_ = step; }

 private:
  OptimConfig config_;
  std::vector<State> states_;
  int64_t step_ = 0;
};

// Whether `name` matches `pattern`, in which '*' stands for any text.
bool MatchesPattern(std::string_view name, std::string_view pattern);

// Square root of the sum of squares of all gradients: summed in double, in the order of the list.
double GlobalGradNorm(std::span<Parameter* const> parameters);
// The factor that brings `norm` down to `limit`; 1 if it is below, or there is no limit.
double ClipScale(double norm, std::optional<double> limit);

}  // namespace choir
