#include "ops/matrix_family.h"

#include <algorithm>

#include "ops/parallel_for.h"

namespace choir {
namespace {

char RoleOf(const MatrixFamily& family, int dim, bool per_head) {
  const char role = family.roles[static_cast<size_t>(dim)];
  return role == 'h' ? (per_head ? 'b' : 'r') : role;
}

// How elements move: index i of dim d adds i * from[d] in the tensor, i * to[d] in the matrices.
struct Walk {
  int rank = 0;
  int64_t start = 0;  // in the tensor
  std::array<int64_t, kMaxDims> count{}, from{}, to{};
  int64_t runs = 1, width = 1;  // the last dim is one run
};

Walk WalkOf(const MatrixFamily& family, const Shape& tensor, bool per_head) {
  const MatrixShape shape = ShapeOf(family, tensor, per_head);
  Walk walk;
  walk.rank = tensor.rank();
  int64_t stride = 1, column = 1, row = shape.columns, batch = shape.columns * shape.rows;
  for (int d = tensor.rank() - 1; d >= 0; --d) {
    const auto at = static_cast<size_t>(d);
    walk.count[at] = d == family.dim ? family.count : tensor.dim(d);
    walk.from[at] = stride;
    if (d == family.dim) walk.start = family.begin * stride;
    stride *= tensor.dim(d);
    const char role = RoleOf(family, d, per_head);
    int64_t& next = role == 'c' ? column : role == 'r' ? row : batch;
    walk.to[at] = next;
    next *= walk.count[at];
  }
  const auto last = static_cast<size_t>(walk.rank - 1);
  walk.width = walk.count[last];
  walk.runs = walk.width > 0 ? shape.NumElements() / walk.width : 0;
  return walk;
}

// body(begin in the tensor, begin in the matrices) for every run.
template <class Body>
void ForEachRun(const Walk& walk, const Body& body) {
  ParallelRanges(walk.runs, RowGrain(walk.width), [&](int64_t begin, int64_t end) {
    for (int64_t run = begin; run < end; ++run) {
      int64_t left = run, from = walk.start, to = 0;
      for (int d = walk.rank - 2; d >= 0; --d) {
        const auto at = static_cast<size_t>(d);
        from += left % walk.count[at] * walk.from[at];
        to += left % walk.count[at] * walk.to[at];
        left /= walk.count[at];
      }
      body(from, to);
    }
  });
}

}  // namespace

MatrixShape ShapeOf(const MatrixFamily& family, const Shape& tensor, bool per_head) {
  CHECK(static_cast<int>(family.roles.size()) == tensor.rank() && tensor.rank() > 0)
      << family.roles << " for " << tensor;
  MatrixShape shape;
  for (int d = 0; d < tensor.rank(); ++d) {
    const bool part = d == family.dim;
    CHECK(!part || (family.begin >= 0 && family.begin + family.count <= tensor.dim(d))) << tensor;
    const char role = RoleOf(family, d, per_head);
    CHECK(role == 'b' || role == 'r' || role == 'c') << family.roles;
    int64_t& side = role == 'b' ? shape.batch : role == 'r' ? shape.rows : shape.columns;
    side *= part ? family.count : tensor.dim(d);
  }
  return shape;
}

template <class T>
void GatherMatrices(const Tensor& tensor, const MatrixFamily& family, bool per_head, T* matrices) {
  const Walk walk = WalkOf(family, tensor.shape(), per_head);
  const int64_t step = walk.to[static_cast<size_t>(walk.rank - 1)];
  const T* from = tensor.data<T>();
  ForEachRun(walk, [&](int64_t begin, int64_t to) {
    for (int64_t i = 0; i < walk.width; ++i) matrices[to + i * step] = from[begin + i];
  });
}

template <class T>
void ScatterMatrices(const T* matrices, const MatrixFamily& family, bool per_head,
                     const Tensor& tensor) {
  const Walk walk = WalkOf(family, tensor.shape(), per_head);
  const int64_t step = walk.to[static_cast<size_t>(walk.rank - 1)];
  T* to = tensor.data<T>();
  ForEachRun(walk, [&](int64_t begin, int64_t from) {
    for (int64_t i = 0; i < walk.width; ++i) to[begin + i] = matrices[from + i * step];
  });
}

template void GatherMatrices(const Tensor&, const MatrixFamily&, bool, float*);
template void GatherMatrices(const Tensor&, const MatrixFamily&, bool, double*);
template void ScatterMatrices(const float*, const MatrixFamily&, bool, const Tensor&);
template void ScatterMatrices(const double*, const MatrixFamily&, bool, const Tensor&);

}  // namespace choir
