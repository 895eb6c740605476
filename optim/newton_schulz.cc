#include "optim/newton_schulz.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <type_traits>

#include "ops/gemm.h"
#include "ops/parallel_for.h"
#include "ops/syrk.h"
#include "tensor/cast.h"

namespace choir {
namespace {

// A matrix whose products cost less goes to one thread. Fixed: the two ways may differ in bits.
constexpr double kLargeProduct = 2.0 * 512 * 512 * 512;

// `to` may be `from`.
void RoundToBf16(const float* from, float* to, int64_t n) {
  constexpr int64_t kBlock = 1024;
  BFloat16 codes[kBlock];
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t count = std::min(kBlock, n - i);
    RoundToBFloat16(from + i, codes, count);
    ToFloats(codes, to + i, count);
  }
}

template <class T>
void Transpose2d(const T* from, int64_t rows, int64_t columns, T* to) {
  constexpr int64_t kBlock = 32;
  for (int64_t r0 = 0; r0 < rows; r0 += kBlock) {
    for (int64_t c0 = 0; c0 < columns; c0 += kBlock) {
      const int64_t r1 = std::min(rows, r0 + kBlock), c1 = std::min(columns, c0 + kBlock);
      for (int64_t r = r0; r < r1; ++r) {
        for (int64_t c = c0; c < c1; ++c) to[c * rows + r] = from[r * columns + c];
      }
    }
  }
}

// Every element is written before it is read.
template <class T>
std::unique_ptr<T[]> Scratch(int64_t n) {
  return std::make_unique_for_overwrite<T[]>(static_cast<size_t>(n));
}

// One matrix of at most as many rows as columns: x is [n, m].
template <class T>
class Iteration {
 public:
  Iteration(T* x, int64_t n, int64_t m, bool bf16, bool parallel)
      : n_(n),
        m_(m),
        bf16_(bf16),
        parallel_(parallel),
        x_(x),
        square_(Scratch<T>(n * n)),
        mixed_(Scratch<T>(n * n)),
        next_(Scratch<T>(n * m)),
        rounded_(bf16 ? Scratch<T>(n * m) : nullptr) {}

  void Run(std::span<const NewtonSchulzStep> steps) {
    for (const NewtonSchulzStep& step : steps) Apply(step);
  }

 private:
  // As an operand: rounded into `buffer` if asked for.
  const T* Operand(const T* values, T* buffer, int64_t count) const {
    if constexpr (std::is_same_v<T, float>) {
      if (!bf16_) return values;
      if (!parallel_) {
        RoundToBf16(values, buffer, count);
        return buffer;
      }
      ParallelRanges(count, kElementGrain, [&](int64_t begin, int64_t end) {
        RoundToBf16(values + begin, buffer + begin, end - begin);
      });
      return buffer;
    }
    return values;
  }

  void Multiply(const GemmArgs<T>& args) const { parallel_ ? GemmParallel(args) : Gemm(args); }
  // Both X X^T and A A, A being symmetric.
  void Square(const SyrkArgs<T>& args) const { parallel_ ? SyrkParallel(args) : Syrk(args); }

  // A = X X^T, B = b A + c A A, X = a X + B X.
  void Apply(const NewtonSchulzStep& step) {
    const auto [a, b, c] = step;
    T *square = square_.get(), *mixed = mixed_.get();
    const T* x = Operand(x_, rounded_.get(), n_ * m_);
    Square({.n = n_, .k = m_, .a = x, .lda = m_, .c = square, .ldc = n_});
    std::copy_n(square, n_ * n_, mixed);
    const T* factor = Operand(square, square, n_ * n_);
    Square({.n = n_,
            .k = n_,
            .alpha = static_cast<T>(c),
            .a = factor,
            .lda = n_,
            .beta = static_cast<T>(b),
            .c = mixed,
            .ldc = n_});
    std::copy_n(x_, n_ * m_, next_.get());
    factor = Operand(mixed, mixed, n_ * n_);
    Multiply({.m = n_,
              .n = m_,
              .k = n_,
              .a = factor,
              .lda = n_,
              .b = x,
              .ldb = m_,
              .beta = static_cast<T>(a),
              .c = next_.get(),
              .ldc = m_});
    std::copy_n(next_.get(), n_ * m_, x_);
  }

  int64_t n_, m_;
  bool bf16_, parallel_;
  T* x_;
  std::unique_ptr<T[]> square_, mixed_, next_, rounded_;
};

// In one fixed order.
template <class T>
double SquaredNorm(const T* x, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  return sum;
}

template <class T>
void OrthogonalizeOne(const MatrixRef<T>& matrix, const NewtonSchulz& method, bool parallel) {
  const int64_t count = matrix.rows * matrix.columns;
  const double norm = std::sqrt(SquaredNorm(matrix.data, count));
  if (!(norm > 0)) return;
  for (int64_t i = 0; i < count; ++i) {
    matrix.data[i] = static_cast<T>(static_cast<double>(matrix.data[i]) / norm);
  }
  if (matrix.rows <= matrix.columns) {
    Iteration<T>(matrix.data, matrix.rows, matrix.columns, method.bf16, parallel).Run(method.steps);
    return;
  }
  // The products of the smaller side are the cheaper ones.
  const auto wide = Scratch<T>(count);
  Transpose2d(matrix.data, matrix.rows, matrix.columns, wide.get());
  Iteration<T>(wide.get(), matrix.columns, matrix.rows, method.bf16, parallel).Run(method.steps);
  Transpose2d(wide.get(), matrix.columns, matrix.rows, matrix.data);
}

double StepFlops(int64_t rows, int64_t columns) {
  const auto n = static_cast<double>(std::min(rows, columns));
  const auto m = static_cast<double>(std::max(rows, columns));
  return 4 * n * n * m + 2 * n * n * n;
}

template <class T>
bool IsLarge(const MatrixRef<T>& matrix) {
  return StepFlops(matrix.rows, matrix.columns) >= kLargeProduct;
}

}  // namespace

template <class T>
void Orthogonalize(std::span<const MatrixRef<T>> matrices, const NewtonSchulz& method) {
  static_assert(std::is_floating_point_v<T>);
  CHECK(matrices.empty() || !method.bf16 || sizeof(T) == sizeof(float))
      << "bf16 products are of float";
  std::vector<const MatrixRef<T>*> small;
  for (const MatrixRef<T>& matrix : matrices) {
    if (matrix.rows == 0 || matrix.columns == 0) continue;
    if (IsLarge(matrix)) {
      OrthogonalizeOne(matrix, method, /*parallel=*/true);
    } else {
      small.push_back(&matrix);
    }
  }
  // The costly first: the cheap ones fill up what threads have left.
  std::stable_sort(small.begin(), small.end(), [](const auto* a, const auto* b) {
    return StepFlops(a->rows, a->columns) > StepFlops(b->rows, b->columns);
  });
  ParallelFor(static_cast<int64_t>(small.size()), [&](int64_t i) {
    OrthogonalizeOne(*small[static_cast<size_t>(i)], method, /*parallel=*/false);
  });
}

template void Orthogonalize(std::span<const MatrixRef<float>>, const NewtonSchulz&);
template void Orthogonalize(std::span<const MatrixRef<double>>, const NewtonSchulz&);

double NewtonSchulzFlops(int64_t rows, int64_t columns, int64_t steps) {
  return static_cast<double>(steps) * StepFlops(rows, columns);
}

}  // namespace choir
