#include "ops/syrk.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/random.h"
#include "ops/parallel_for.h"
#include "tensor/tolerance.h"

namespace choir {
namespace {

template <class T>
std::vector<T> Normals(int64_t n, uint64_t seed) {
  std::vector<T> x;
  const CounterRandom random(seed, "x");
  for (int64_t i = 0; i < n; ++i) {
    x.push_back(static_cast<T>(random.Normal(static_cast<uint64_t>(i))));
  }
  return x;
}

// The sum, element by element in double; c of rows with padding that must stay.
template <class T>
void CompareWithLoops(int64_t n, int64_t k, bool parallel) {
  const int64_t lda = k + 3, ldc = n + 2;
  const std::vector<T> a = Normals<T>(n * lda, 1);
  std::vector<T> c = Normals<T>(n * ldc, 2);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < i; ++j) c[size_t(i * ldc + j)] = c[size_t(j * ldc + i)];
  }
  const std::vector<T> before = c;
  const SyrkArgs<T> args{n, k, T(-1.5), a.data(), lda, T(0.5), c.data(), ldc};
  parallel ? SyrkParallel(args) : Syrk(args);
  const double bound = ErrorBound(DTypeOf<T>(), k + 2) * 30;  // of numbers below 6
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double want = 0.5 * static_cast<double>(before[size_t(i * ldc + j)]);
      for (int64_t l = 0; l < k; ++l) {
        want -= 1.5 * static_cast<double>(a[size_t(i * lda + l)]) *
                static_cast<double>(a[size_t(j * lda + l)]);
      }
      ASSERT_NEAR(static_cast<double>(c[size_t(i * ldc + j)]), want, bound) << i << " " << j;
      ASSERT_EQ(c[size_t(i * ldc + j)], c[size_t(j * ldc + i)]) << i << " " << j;
    }
    for (int64_t j = n; j < ldc; ++j)
      ASSERT_EQ(c[size_t(i * ldc + j)], before[size_t(i * ldc + j)]);
  }
}

TEST(SyrkTest, EqualsTheSum) {
  for (int64_t n : {1, 2, 31, 33, 100}) {
    CompareWithLoops<float>(n, 40, false);
    CompareWithLoops<double>(n, 7, false);
    CompareWithLoops<float>(n, 40, true);
  }
}

TEST(SyrkThreadTest, TilesAndThreads) {
  for (int threads : {1, 3}) {
    SetNumThreads(threads);
    CompareWithLoops<float>(700, 5, true);
    CompareWithLoops<double>(513, 3, true);
    SetNumThreads(0);
  }
}

}  // namespace
}  // namespace choir
