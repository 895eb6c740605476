// How far two updates of the same weights may lie apart when their gradients do: what `choir
// verify` and `choir bisect` allow where no bits are promised.
#pragma once

#include <functional>
#include <string>

#include "optim/settings.h"
#include "tensor/tensor.h"

namespace choir {

struct UpdateError {
  ParameterSettings settings;
  double lr = 0;                // of the step, before settings.lr_scale
  double gradient_error = 0;    // of each element, the error of clipping's factor left out
  double gradient_largest = 0;  // magnitude
  double roundoff = 0;          // unit roundoff of the weights as they are stored
};

// The allowed difference of element i of `weight`, F32, as it is after the update. `state(name)` is
// the parameter's state after it, F32.
//   adamw  at most twice its largest step, and at most four times the gradient's error over the
//          root of the second moment
//   lion   a sign may turn over: twice the step
//   sgd    lr (1 + beta1) times the gradient's error, twice: clipping's factor has an error of the
//          same size
std::function<double(int64_t i)> UpdateBound(
    const UpdateError& error, const Tensor& weight,
    const std::function<Tensor(const std::string& name)>& state);

}  // namespace choir
