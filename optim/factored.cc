#include "optim/factored.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/matrix_family.h"

namespace choir {
namespace {

// A larger matrix is shared by all threads, others go to one each. No bit depends on it.
constexpr int64_t kLargeMatrix = 64 * kElementGrain;

struct Factors {
  double keep, add, epsilon, clip;  // b, 1 - b
};

// One matrix: its gradient, which becomes the update, and its numbers.
template <class T>
struct FactoredMatrix {
  T* x;
  int64_t rows, columns;
  T *of_rows, *of_columns;
  bool large() const { return rows * columns >= kLargeMatrix; }
};

// Ranges of [0, n), on all threads or this one.
template <class Body>
void Ranges(bool parallel, int64_t n, int64_t grain, const Body& body) {
  if (parallel) return ParallelRanges(n, grain, body);
  for (int64_t i = 0; i < n; i += grain) body(i, std::min(n, i + grain));
}

double Square(double x) { return x * x; }

template <class T>
void Follow(T& moment, double mean, const Factors& f) {
  moment = static_cast<T>(f.keep * static_cast<double>(moment) + f.add * mean);
}

template <class T>
void UpdateFactors(const FactoredMatrix<T>& a, const Factors& f) {
  const int64_t row_grain = RowGrain(a.columns), column_grain = 64;
  Ranges(a.large(), a.rows, row_grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < a.columns; ++j) sum += Square(a.x[i * a.columns + j]) + f.epsilon;
      Follow(a.of_rows[i], sum / static_cast<double>(a.columns), f);
    }
  });
  Ranges(a.large(), a.columns, column_grain, [&](int64_t begin, int64_t end) {
    double sums[64] = {};
    for (int64_t i = 0; i < a.rows; ++i) {
      for (int64_t j = begin; j < end; ++j) {
        sums[j - begin] += Square(a.x[i * a.columns + j]) + f.epsilon;
      }
    }
    for (int64_t j = begin; j < end; ++j) {
      Follow(a.of_columns[j], sums[j - begin] / static_cast<double>(a.rows), f);
    }
  });
}

// x /= sqrt(moment), then clipped by its root mean square.
template <class T>
void Normalize(const FactoredMatrix<T>& a, const Factors& f) {
  double mean = 0;
  for (int64_t i = 0; i < a.rows; ++i) mean += static_cast<double>(a.of_rows[i]);
  mean /= static_cast<double>(a.rows);
  std::vector<double> columns(static_cast<size_t>(a.columns)), squares(static_cast<size_t>(a.rows));
  for (size_t j = 0; j < columns.size(); ++j) {
    columns[j] = 1 / std::sqrt(static_cast<double>(a.of_columns[j]));
  }
  Ranges(a.large(), a.rows, RowGrain(a.columns), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double row = std::sqrt(mean / static_cast<double>(a.of_rows[i]));
      double sum = 0;
      for (int64_t j = 0; j < a.columns; ++j) {
        T& x = a.x[i * a.columns + j];
        x = static_cast<T>(static_cast<double>(x) * row * columns[static_cast<size_t>(j)]);
        sum += Square(x);
      }
      squares[static_cast<size_t>(i)] = sum;
    }
  });
  double sum = 0;
  for (double s : squares) sum += s;
  const double rms = std::sqrt(sum / static_cast<double>(a.rows * a.columns));
  if (rms <= f.clip) return;
  const auto scale = static_cast<T>(f.clip / rms);
  Ranges(a.large(), a.rows * a.columns, kElementGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) a.x[i] *= scale;
  });
}

template <class T>
void UpdateVector(T* x, T* moment, int64_t n, const Factors& f) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    Follow(moment[i], Square(x[i]) + f.epsilon, f);
    x[i] = static_cast<T>(static_cast<double>(x[i]) / std::sqrt(static_cast<double>(moment[i])));
    sum += Square(x[i]);
  }
  const double rms = std::sqrt(sum / static_cast<double>(n));
  if (rms <= f.clip) return;
  for (int64_t i = 0; i < n; ++i) x[i] *= static_cast<T>(f.clip / rms);
}

template <class T>
void UpdateMatrices(std::span<const FactoredMatrix<T>> matrices, const Factors& f) {
  std::vector<const FactoredMatrix<T>*> small;
  const auto update = [&f](const FactoredMatrix<T>& a) {
    UpdateFactors(a, f);
    Normalize(a, f);
  };
  for (const FactoredMatrix<T>& a : matrices) {
    if (a.large()) {
      update(a);
    } else if (a.rows > 0 && a.columns > 0) {
      small.push_back(&a);
    }
  }
  ParallelFor(static_cast<int64_t>(small.size()),
              [&](int64_t i) { update(*small[static_cast<size_t>(i)]); });
}

// Of one index of the first dim, where that has matrices of its own; else of all.
int64_t NumbersOfOne(const Shape& unit, const Matrices& matrices) {
  const bool batched = SplitsByFirstDim(matrices);
  int64_t numbers = 0;
  for (const MatrixFamily& family : matrices.families) {
    const MatrixShape shape = ShapeOf(family, batched ? unit.With(0, 1) : unit, false);
    numbers += shape.batch * (shape.rows + shape.columns);
  }
  return numbers;
}

template <class T>
Tensor ScaledGradient(const MatrixTarget& t) {
  const Tensor& grad = t.target->grad;
  const Tensor scaled = Tensor::Empty(grad.shape(), grad.options(MemoryCategory::kWorkspace));
  if (grad.device() == Device::kMeta) return scaled;
  const CommonRule<T> common(t.rule);
  ForEachElementRun(*t.grid, [&](const ElementRun& run) {
    const T* g = grad.data<T>() + run.begin;
    T* to = scaled.data<T>() + run.begin;
    ForEachVec<T>(run.count,
                  [&](int64_t, auto load, auto store) { store(to, common.Gradient(load(g))); });
  });
  return scaled;
}

// What StepOne allocates and sends.
template <class T>
void StepOneOnMeta(const MatrixTarget& t) {
  const Tensor update = ScaledGradient<T>(t);
  const Tensor unit = t.unit->Gather(update);
  for (const MatrixFamily& family : t.target->matrices.families) {
    Tensor::Empty({ShapeOf(family, unit.shape(), false).NumElements()}, unit.options());
  }
}

template <class T>
void StepOne(const MatrixTarget& t, const Factors& f) {
  if (t.target->grad.device() == Device::kMeta) return StepOneOnMeta<T>(t);
  const Tensor update = ScaledGradient<T>(t);
  const Tensor unit = t.unit->Gather(update);
  const Matrices& matrices = t.target->matrices;
  T* numbers = t.factors.data<T>();
  if (matrices.families.empty()) {
    UpdateVector(unit.data<T>(), numbers, unit.NumElements(), f);
  }
  const int64_t of_one = NumbersOfOne(unit.shape(), matrices);
  const int64_t outer = SplitsByFirstDim(matrices) ? unit.dim(0) : 1;
  int64_t at = 0;  // of a family, among those of one
  for (const MatrixFamily& family : matrices.families) {
    const MatrixShape shape = ShapeOf(family, unit.shape(), false);
    const int64_t size = shape.rows * shape.columns, inner = shape.batch / outer;
    const Tensor values = Tensor::Empty({shape.NumElements()}, unit.options());
    GatherMatrices<T>(unit, family, false, values.data<T>());
    std::vector<FactoredMatrix<T>> list;
    for (int64_t i = 0; i < shape.batch; ++i) {
      T* of_rows = numbers + i / inner * of_one + at + i % inner * (shape.rows + shape.columns);
      list.push_back(
          {values.data<T>() + i * size, shape.rows, shape.columns, of_rows, of_rows + shape.rows});
    }
    UpdateMatrices<T>(list, f);
    ScatterMatrices<T>(values.data<T>(), family, false, unit);
    at += inner * (shape.rows + shape.columns);
  }
  t.unit->Take(unit, update);
  ApplyDirection<T>(t, update.data<T>(), t.rule.lr);
}

}  // namespace

Shape FactoredShape(const Shape& unit, const Matrices& matrices) {
  if (matrices.families.empty()) return {unit.NumElements()};
  const int64_t numbers = NumbersOfOne(unit, matrices);
  if (SplitsByFirstDim(matrices)) return {unit.dim(0), numbers};
  return {numbers};
}

Placement FactoredPlacement(const Placement& of, const Matrices& matrices) {
  Placement placement{FactoredShape(of.shape, matrices), {}};
  placement.cut = of.cut;
  if (SplitsByFirstDim(matrices)) placement.layout.split[0] = of.layout.split[0];
  return placement;
}

template <class T>
void FactoredStep(std::span<const MatrixTarget> targets, const FactoredConfig& config) {
  for (const MatrixTarget& t : targets) {
    if (!t.unit->mine()) continue;
    const double fresh = std::pow(static_cast<double>(t.rule.step), -config.decay_exponent);
    StepOne<T>(t, {1 - fresh, fresh, config.epsilon, config.clip});
  }
}

template void FactoredStep<float>(std::span<const MatrixTarget>, const FactoredConfig&);
template void FactoredStep<double>(std::span<const MatrixTarget>, const FactoredConfig&);

}  // namespace choir
