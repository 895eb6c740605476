// A trained tensor with its gradient. Owned by the model; the tape and the optimizer refer to it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "ops/grad_tree.h"
#include "tensor/tensor.h"

namespace choir {

struct Parameter {
  std::string name;  // "layers.3.attention.qkv"; keys initialisation, checkpoints and policies
  Tensor value;
  Tensor grad;  // same shape; backward adds into it
  // `numerics: invariant`: backward adds here instead, leaf by leaf. Null otherwise.
  std::shared_ptr<GradTree> tree;

  // Uses in the forward pass whose gradient has not arrived yet; a tied weight has several.
  int pending = 0;
  // Called once per backward pass, when the last contribution has been added.
  std::function<void(Parameter&)> on_ready;
};

}  // namespace choir
