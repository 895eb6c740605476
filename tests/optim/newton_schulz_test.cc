#include "optim/newton_schulz.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "base/random.h"
#include "base/strings.h"
#include "ops/parallel_for.h"
#include "tensor/tolerance.h"
#include "tests/optim/singular_values.h"

namespace choir {
namespace {

NewtonSchulz Published(bool bf16 = false) {
  NewtonSchulz method{{}, bf16};
  for (int i = 0; i < 8; ++i) method.steps.push_back({3.4445, -4.7750, 2.0315});
  for (int i = 0; i < 2; ++i) method.steps.push_back({2, -1.5, 0.5});
  return method;
}

template <class T>
std::vector<T> Gaussian(int64_t rows, int64_t columns, uint64_t seed) {
  std::vector<T> x(static_cast<size_t>(rows * columns));
  const CounterRandom random(seed, "matrix");
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(random.Normal(i));
  return x;
}

// Rows orthonormal (Gram-Schmidt, twice), rows <= columns.
std::vector<double> Orthonormal(int64_t rows, int64_t columns, uint64_t seed) {
  std::vector<double> x = Gaussian<double>(rows, columns, seed);
  const auto row = [&](int64_t r) { return x.data() + r * columns; };
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t other = 0; other < 2 * r; ++other) {
      double dot = 0;
      for (int64_t c = 0; c < columns; ++c) dot += row(r)[c] * row(other % r)[c];
      for (int64_t c = 0; c < columns; ++c) row(r)[c] -= dot * row(other % r)[c];
    }
    double norm = 0;
    for (int64_t c = 0; c < columns; ++c) norm += row(r)[c] * row(r)[c];
    for (int64_t c = 0; c < columns; ++c) row(r)[c] /= std::sqrt(norm);
  }
  return x;
}

// U diag(values) V^T with random U, V; [rows, columns].
template <class T>
std::vector<T> WithSpectrum(int64_t rows, int64_t columns, const std::vector<double>& values) {
  const auto n = static_cast<int64_t>(values.size());
  const std::vector<double> u = Orthonormal(n, rows, 1), v = Orthonormal(n, columns, 2);
  std::vector<T> x;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      double sum = 0;
      for (int64_t k = 0; k < n; ++k) {
        sum += u[static_cast<size_t>(k * rows + r)] * values[static_cast<size_t>(k)] *
               v[static_cast<size_t>(k * columns + c)];
      }
      x.push_back(static_cast<T>(sum));
    }
  }
  return x;
}

template <class T>
std::vector<double> After(std::vector<T> x, int64_t rows, int64_t columns,
                          const NewtonSchulz& method) {
  const MatrixRef<T> matrix{x.data(), rows, columns};
  Orthogonalize<T>(std::span(&matrix, 1), method);
  return {x.begin(), x.end()};
}

// The map of the published steps takes [1e-4, 1] into this; it holds down to 3e-5, which leaves
// room for what rounding does to the smallest values in the first steps.
constexpr double kLow = 1, kHigh = 1.00201734;

// The last step's map is flat at one, so errors from before it do not count. Its own: an n x n
// matrix of independent errors e stretches by at most 2 sqrt(n) e; those of X X^T (elements below
// one, m products) count |b + 2 c| = 1/2 and twice, those of its square and of the last product as
// much: four in all.
double Slack(DType dtype, int64_t n, int64_t m) {
  return 4 * 2 * std::sqrt(static_cast<double>(n)) * ErrorBound(dtype, m);
}

const std::vector<std::pair<int64_t, int64_t>> kShapes = {{32, 32}, {16, 48}, {48, 16}, {1, 40},
                                                          {40, 1},  {7, 130}, {64, 65}};

// From the largest value to 1e-4 of the norm, evenly on a logarithmic scale.
std::vector<double> Wide(int64_t n) {
  std::vector<double> values;
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) {
    values.push_back(std::pow(1e-4, n == 1 ? 0.0 : static_cast<double>(i) / double(n - 1)));
    squares += values.back() * values.back();
  }
  values.back() = n == 1 ? 1 : 1e-4 * std::sqrt(squares);
  return values;
}

template <class T>
void ExpectSingularValuesAtOne(double slack_factor) {
  for (const auto& [rows, columns] : kShapes) {
    const int64_t n = std::min(rows, columns), m = std::max(rows, columns);
    const double slack = slack_factor * Slack(DTypeOf<T>(), n, m);
    for (const std::vector<T>& x :
         {Gaussian<T>(rows, columns, 5), WithSpectrum<T>(rows, columns, Wide(n))}) {
      const auto values = SingularValues(After<T>(x, rows, columns, Published()), rows, columns);
      EXPECT_GE(values.back(), kLow - slack) << rows << " x " << columns;
      EXPECT_LE(values.front(), kHigh + slack) << rows << " x " << columns;
    }
  }
}

TEST(NewtonSchulzTest, SingularValuesComeToOne) {
  ExpectSingularValuesAtOne<double>(1);
  ExpectSingularValuesAtOne<float>(1);
}

// Rounding an operand changes its singular values by at most u times its Frobenius norm, and, signs
// being random, by about 2 u times its longest row or column: one, near the end. Four operands of
// the last step are rounded, with weights as in Slack, so 8 u; what steps before it left, 8 u, the
// last step squares. Values below the noise of the first step's operands are not promised anything.
TEST(NewtonSchulzTest, Bf16ComesWithinItsRoundings) {
  const double u = UnitRoundoff(DType::kBF16), slack = 8 * u + 64 * u * u;
  for (const auto& [rows, columns] : kShapes) {
    const int64_t n = std::min(rows, columns);
    std::vector<double> spectrum;
    for (int64_t i = 0; i < n; ++i) spectrum.push_back(std::pow(16 * u, double(i) / double(n)));
    const auto x = WithSpectrum<float>(rows, columns, spectrum);
    const auto values =
        SingularValues(After<float>(x, rows, columns, Published(true)), rows, columns);
    EXPECT_GE(values.back(), kLow - slack) << rows << " x " << columns;
    EXPECT_LE(values.front(), kHigh + slack) << rows << " x " << columns;
    EXPECT_NE(After<float>(x, rows, columns, Published()),
              After<float>(x, rows, columns, Published(true)));
  }
}

// The twin: the definition, with loops, on the matrix as it stands.
std::vector<double> Twin(const std::vector<double>& start, int64_t rows, int64_t columns,
                         const NewtonSchulz& method) {
  std::vector<double> x = start;
  double squares = 0;
  for (double v : x) squares += v * v;
  for (double& v : x) v /= std::sqrt(squares);
  const auto r = static_cast<size_t>(rows), c = static_cast<size_t>(columns);
  for (const auto& [a, b, d] : method.steps) {
    std::vector<double> gram(r * r), first(x.size()), second(x.size());
    for (size_t i = 0; i < r; ++i) {
      for (size_t j = 0; j < r; ++j) {
        for (size_t k = 0; k < c; ++k) gram[i * r + j] += x[i * c + k] * x[j * c + k];
      }
    }
    const auto times_gram = [&](const std::vector<double>& from, std::vector<double>& to) {
      for (size_t i = 0; i < r; ++i) {
        for (size_t j = 0; j < c; ++j) {
          for (size_t k = 0; k < r; ++k) to[i * c + j] += gram[i * r + k] * from[k * c + j];
        }
      }
    };
    times_gram(x, first);
    times_gram(first, second);
    for (size_t i = 0; i < x.size(); ++i) x[i] = a * x[i] + b * first[i] + d * second[i];
  }
  return x;
}

TEST(NewtonSchulzTest, EqualsTheDefinition) {
  for (const auto& [rows, columns] : kShapes) {
    const std::vector<double> x = Gaussian<double>(rows, columns, 9);
    // Two steps: before rounding is amplified; a step multiplies it by |a| + 3 |b| + 5 |c| at most.
    NewtonSchulz method{{{3.4445, -4.7750, 2.0315}, {2, -1.5, 0.5}}, false};
    const auto got = After<double>(x, rows, columns, method);
    const auto want = Twin(x, rows, columns, method);
    const double bound = 28 * 9 * ErrorBound(DType::kF64, rows + columns);
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], bound) << rows << i;
  }
}

// Neither threads nor what else is in the list matters; a large matrix among small ones.
TEST(NewtonSchulzThreadTest, BitsAreTheMatrixsOwn) {
  const std::vector<std::pair<int64_t, int64_t>> shapes = {{24, 40}, {300, 900}, {24, 40}, {9, 3}};
  std::vector<std::vector<float>> alone;
  const NewtonSchulz method = Published();
  for (size_t i = 0; i < shapes.size(); ++i) {
    alone.push_back(Gaussian<float>(shapes[i].first, shapes[i].second, i));
    const MatrixRef<float> matrix{alone.back().data(), shapes[i].first, shapes[i].second};
    Orthogonalize<float>(std::span(&matrix, 1), method);
  }
  for (int threads : {1, 3}) {
    SetNumThreads(threads);
    std::vector<std::vector<float>> x;
    std::vector<MatrixRef<float>> list;
    for (size_t i = 0; i < shapes.size(); ++i) {
      x.push_back(Gaussian<float>(shapes[i].first, shapes[i].second, i));
      list.push_back({x.back().data(), shapes[i].first, shapes[i].second});
    }
    Orthogonalize<float>(list, method);
    SetNumThreads(0);
    EXPECT_EQ(x, alone) << threads;
  }
}

TEST(NewtonSchulzTest, ZeroStaysZeroAndScaleDoesNotMatter) {
  EXPECT_EQ(After<float>(std::vector<float>(12), 3, 4, Published()), std::vector<double>(12));
  std::vector<float> x = Gaussian<float>(6, 10, 3);
  const auto want = After<float>(x, 6, 10, Published());
  for (float& v : x) v *= 0x1p-60F;  // whose squares underflow in float
  EXPECT_EQ(After<float>(x, 6, 10, Published()), want);
}

}  // namespace
}  // namespace choir
