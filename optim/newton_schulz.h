// The nearest semi-orthogonal matrix, by Newton-Schulz iteration with tuned coefficients (Jordan et
// al. 2024, "Muon"; steps and coefficients of the defaults: DeepSeek-V4, section 2.4).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace choir {

// One step takes X to a X + b (X X^T) X + c (X X^T)^2 X: each singular value s to
// a s + b s^3 + c s^5.
using NewtonSchulzStep = std::array<double, 3>;

struct NewtonSchulz {
  std::vector<NewtonSchulzStep> steps;
  // Rounds the operands of every product to bf16 (float only); sums and results stay in float.
  bool bf16 = false;
};

// A dense row-major matrix inside of a larger buffer.
template <class T>
struct MatrixRef {
  T* data = nullptr;
  int64_t rows = 0, columns = 0;
};

// Each matrix is divided by its Frobenius norm, then goes through the steps; zero stays zero. In
// place, on all threads: small matrices side by side, large ones one after another. The bits of a
// result depend on that matrix alone, whatever else is in the list and whoever computes it.
// With the default steps every singular value of at least 1e-4 of the norm ends in [1, 1.0021] in
// exact arithmetic.
template <class T>
void Orthogonalize(std::span<const MatrixRef<T>> matrices, const NewtonSchulz& method);

// Multiplications and additions of all steps for one matrix, as general products; of the two that
// are symmetric little more than half is done (ops/syrk.h).
double NewtonSchulzFlops(int64_t rows, int64_t columns, int64_t steps);

}  // namespace choir
