// One description of an op, from which all of its tests follow (CheckOpCase).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ops/tape.h"

namespace choir {

// An input: uniform in [offset - scale, offset + scale], or the given integers.
struct OpInput {
  Shape shape;
  bool parameter = false;  // passed as Parameter instead of Var
  double scale = 1, offset = 0;
  std::vector<int32_t> integers;  // not empty: an i32 tensor, without gradient
  bool wants_grad = true;
};

// The inputs of one run, in the dtype and on the device under test.
struct OpArguments {
  std::vector<Var> vars;  // by index of the input; undefined for others
  std::vector<std::unique_ptr<Parameter>> parameters;  // by index of the input
  std::vector<Tensor> tensors;                         // every input's tensor
  TensorOptions options;

  const Var& var(int i) const { return vars[static_cast<size_t>(i)]; }
  Parameter& parameter(int i) const { return *parameters[static_cast<size_t>(i)]; }
  const Tensor& tensor(int i) const { return tensors[static_cast<size_t>(i)]; }
};

struct OpCase {
  std::string name;
  std::vector<OpInput> inputs;
  // Runs the op. The checks use the sum of all outputs, each times a fixed random cotangent;
  // outputs of integers, and those without a gradient, are compared but not differentiated.
  std::function<std::vector<Var>(Tape&, OpArguments&)> run;
  // Terms of the longest sum behind any output or gradient element.
  int64_t reduction = 1;
  // Whether values decide how much memory is needed: then meta's peak is an upper bound, and its
  // work is not compared.
  bool data_decide_memory = false;
};

// In float64: gradients by finite differences. Float32 against float64 within ErrorBound.
// On meta: same shapes, the same peak bytes and the same reports of work. Recomputing everything:
// the same bits. One thread and three: the same bits. Weight gradients deferred: the same bits.
void CheckOpCase(const OpCase& op);

// With invariant numerics: within ErrorBound of the fast mode, with as many flops of products, and
// every check above but finite differences. `rows` > 0: the tape's rows are that many, cut into
// kVirtualPieces leaves, and every parameter's gradient is the root of a tree; 0: parameters have
// no trees.
void CheckInvariantOpCase(const OpCase& op, int64_t rows);

}  // namespace choir
