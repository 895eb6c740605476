// Matrix products whose sums have one order that no layout and no blocking changes
// (ops/numerics.h). Plain loops.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "base/check.h"
#include "ops/gemm.h"
#include "ops/parallel_for.h"

namespace choir {

// Adds n items as a balanced binary tree (neighbours first): add(i, j) adds item j to item i. The
// sum is then item 0.
template <class Add>
void TreeSum(int64_t n, const Add& add) {
  for (int64_t step = 1; step < n; step *= 2) {
    for (int64_t i = 0; i + step < n; i += 2 * step) add(i, i + step);
  }
}

namespace internal {

// Row i of a product: acc[j] = fma(a_ik, b_kj, acc[j]) for k in [begin, end), ascending.
template <class T>
void ChainRow(const GemmArgs<T>& g, int64_t i, int64_t begin, int64_t end, T* acc) {
  const T* a = g.transpose_a == Transpose::kNo ? g.a + i * g.lda : g.a + i;
  const int64_t step = g.transpose_a == Transpose::kNo ? 1 : g.lda;
  if (g.transpose_b == Transpose::kNo) {
    for (int64_t k = begin; k < end; ++k) {
      const T x = a[k * step];
      const T* b = g.b + k * g.ldb;
      for (int64_t j = 0; j < g.n; ++j) acc[j] = std::fma(x, b[j], acc[j]);
    }
    return;
  }
  for (int64_t j = 0; j < g.n; ++j) {
    const T* b = g.b + j * g.ldb;
    T sum = acc[j];
    for (int64_t k = begin; k < end; ++k) sum = std::fma(a[k * step], b[k], sum);
    acc[j] = sum;
  }
}

}  // namespace internal

// c = op(a) op(b) + beta c, on all threads. Each element is one chain acc = fma(a_ik, b_kj, acc), k
// ascending, that starts from 0 (beta 0) or from c (beta 1), so that a product cut along k into
// calls has the bits of one call. With `pieces`, the bounds of a power of two of ranges of k (some
// may be empty), each range is a chain of its own from 0, and their sums are added as a balanced
// binary tree; beta is then 0. alpha is 1.
template <class T>
void ChainProduct(const GemmArgs<T>& g, std::span<const int64_t> pieces = {}) {
  CHECK(g.alpha == T(1) && (g.beta == T(0) || g.beta == T(1)));
  const int64_t whole[] = {0, g.k};
  if (pieces.empty()) pieces = whole;
  const auto count = static_cast<int64_t>(pieces.size()) - 1;
  CHECK(count >= 1 && (count & (count - 1)) == 0) << count << " pieces";
  CHECK(pieces.front() == 0 && pieces.back() == g.k);
  CHECK(count == 1 || g.beta == T(0));
  ParallelRanges(g.m, RowGrain(g.n), [&](int64_t begin, int64_t end) {
    std::vector<T> rest(static_cast<size_t>((count - 1) * g.n));
    for (int64_t i = begin; i < end; ++i) {
      T* c = g.c + i * g.ldc;
      auto sum_of = [&](int64_t p) { return p == 0 ? c : rest.data() + (p - 1) * g.n; };
      for (int64_t p = 0; p < count; ++p) {
        if (p > 0 || g.beta == T(0)) std::fill_n(sum_of(p), g.n, T(0));
        internal::ChainRow(g, i, pieces[static_cast<size_t>(p)], pieces[static_cast<size_t>(p) + 1],
                           sum_of(p));
      }
      TreeSum(count, [&](int64_t to, int64_t from) {
        for (int64_t j = 0; j < g.n; ++j) sum_of(to)[j] += sum_of(from)[j];
      });
    }
  });
}

}  // namespace choir
