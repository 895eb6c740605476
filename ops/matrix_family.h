// The matrices inside of a parameter. Optimizers that look at a matrix as a whole (Muon, factored
// moments) need to know which elements are one: a fused projection holds several, and what its dims
// mean is the model's affair. So the model says it, as data.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace choir {

// Equal matrices that are spread over a tensor, one role for each of its dims:
//   'r' rows, 'c' columns: several such dims make one side of the matrix, the last one fastest
//   'b' batch: a matrix for each index
//   'h' heads: like 'r', or like 'b' where each head is taken as a matrix by itself
struct MatrixFamily {
  std::string_view roles;  // a string literal, as long as the tensor's rank
  // If it has not all of the tensor: indices [begin, begin + count) of dim `dim`.
  int dim = -1;
  int64_t begin = 0, count = 0;
};

// All families of a parameter; together they hold each of its elements once.
struct Matrices {
  std::vector<MatrixFamily> families;  // none: vectors
  // Rows are entries of a table (embedding, head), which no product mixes: by default only their
  // moments are taken as a matrix.
  bool table = false;
};

struct MatrixShape {
  int64_t batch = 1, rows = 1, columns = 1;
  int64_t NumElements() const { return batch * rows * columns; }
  bool operator==(const MatrixShape&) const = default;
};

// CHECKs that roles and range fit.
MatrixShape ShapeOf(const MatrixFamily& family, const Shape& tensor, bool per_head);

// Copies a family between a dense tensor and matrices one after another, [batch, rows, columns].
// The same elements are touched whatever the threads.
template <class T>
void GatherMatrices(const Tensor& tensor, const MatrixFamily& family, bool per_head, T* matrices);
template <class T>
void ScatterMatrices(const T* matrices, const MatrixFamily& family, bool per_head,
                     const Tensor& tensor);

}  // namespace choir
