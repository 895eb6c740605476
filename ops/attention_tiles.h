// What the attention kernels share: the tiles of scores they work on, on the stack of a task.
//
// A document and a key-value group with R query heads have R rows per token: row r stands for
// token r / R and head r % R. A tile is a block of rows against a block of keys.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "ops/gemm.h"
#include "ops/simd.h"
#include "ops/work.h"

namespace choir {

// Measured: large enough for GEMMs near their full rate, small enough that few scores of a diagonal
// tile are computed only to be masked, and that a tile stays in the second-level cache.
inline constexpr int64_t kTileRows = 48;
inline constexpr int64_t kTileKeys = 256;
// Elements of a packed block of rows.
inline constexpr int64_t kRowElements = kTileRows * 128;

// Rows of a tile for heads of `head_dim`.
inline int64_t TileRows(int64_t head_dim) {
  return std::clamp<int64_t>(kRowElements / head_dim, 1, kTileRows);
}
// Distance between the rows of a tile of `keys` scores: whole vectors.
inline int64_t TileStride(int64_t keys) { return (keys + kLanes - 1) / kLanes * kLanes; }

// The rows of one document and group in an array of [T, ..., R, D]: `data` is row 0.
template <class T>
struct HeadRows {
  T* data;
  int64_t token_stride;
  int64_t heads;  // R
  int64_t head_dim;

  T* operator[](int64_t row) const {
    return data + row / heads * token_stride + row % heads * head_dim;
  }
};

// Of an array qkv [T, G, R + 2, D] and of the result [T, G R D].
struct AttentionDims {
  int64_t tokens, groups, heads, head_dim;

  explicit AttentionDims(const Tensor& qkv)
      : tokens(qkv.dim(0)), groups(qkv.dim(1)), heads(qkv.dim(2) - 2), head_dim(qkv.dim(3)) {}
  // Elements between tokens and between groups.
  int64_t qkv_token() const { return groups * qkv_group(); }
  int64_t qkv_group() const { return (heads + 2) * head_dim; }
  int64_t out_token() const { return groups * out_group(); }
  int64_t out_group() const { return heads * head_dim; }

  template <class T>
  HeadRows<T> Queries(T* qkv, int64_t token, int64_t group) const {
    return {qkv + token * qkv_token() + group * qkv_group(), qkv_token(), heads, head_dim};
  }
  template <class T>
  HeadRows<T> Outputs(T* out, int64_t token, int64_t group) const {
    return {out + token * out_token() + group * out_group(), out_token(), heads, head_dim};
  }
};

// Pairs of `queries` and the keys they see: `past` earlier ones, those between, and their own.
inline double CausalPairs(int64_t queries, int64_t past = 0) {
  const auto n = static_cast<double>(queries);
  return n * static_cast<double>(past) + n * (n + 1) / 2;
}

// What the scores of `pairs` (query, key) pairs, in all heads, and the sums of values cost.
inline Work AttentionWork(const char* name, const AttentionDims& d, double pairs) {
  const auto width = static_cast<double>(d.groups * d.heads * d.head_dim);
  return {.kind = WorkKind::kAttention, .name = name, .flops = 4 * width * pairs, .k = d.head_dim};
}

// to[i] = scale * rows[begin + i], dense.
template <class T>
void PackRows(const HeadRows<const T>& rows, int64_t begin, int64_t end, T scale, T* to) {
  for (int64_t row = begin; row < end; ++row, to += rows.head_dim) {
    const T* from = rows[row];
    ForEachVec<T>(rows.head_dim,
                  [&](int64_t, auto load, auto store) { store(to, scale * load(from)); });
  }
}

// Gemm for tiles too small for the cost of a call: vectors over the columns, or dot products.
template <class T>
void SmallGemm(const GemmArgs<T>& g) {
  for (int64_t i = 0; i < g.m; ++i) {
    T* c = g.c + i * g.ldc;
    if (g.transpose_b == Transpose::kYes) {
      for (int64_t j = 0; j < g.n; ++j) {
        const T product = g.alpha * Dot(g.a + i * g.lda, g.b + j * g.ldb, g.k);
        c[j] = g.beta == 0 ? product : g.beta * c[j] + product;
      }
      continue;
    }
    const bool ta = g.transpose_a == Transpose::kYes;
    const T* a = g.a + (ta ? i : i * g.lda);
    const int64_t step = ta ? g.lda : 1;
    ForEachVec<T>(g.n, [&](int64_t, auto load, auto store) {
      Vec<T> sum{};
      for (int64_t k = 0; k < g.k; ++k) sum += a[k * step] * load(g.b + k * g.ldb);
      sum *= g.alpha;
      store(c, g.beta == 0 ? sum : g.beta * load(c) + sum);
    });
  }
}

template <class T>
void TileGemm(const GemmArgs<T>& g) {
  // Measured: below this many multiply-adds a call costs more than its work.
  constexpr int64_t kSmall = 2048;
  if (g.m * g.n * g.k <= kSmall || (g.m <= 2 && g.transpose_a == Transpose::kNo)) {
    SmallGemm(g);
  } else {
    Gemm(g);
  }
}

// 0, 1, ..., kLanes - 1.
template <class T>
inline Vec<T> LaneIndex() {
  return Vec<T>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
}

// Calls body(offset, mask) for the vectors of the first `visible` elements of a row of a tile,
// where mask(v, other) replaces lanes beyond `visible` by `other`; the row is readable and writable
// up to whole vectors.
template <class T, class Body>
inline void ForEachVisible(int64_t visible, Body&& body) {
  int64_t i = 0;
  for (; i + kLanes <= visible; i += kLanes) {
    body(i, [](const Vec<T>& v, T) { return v; });
  }
  if (i < visible) {
    const auto seen = LaneIndex<T>() < Splat(static_cast<T>(visible - i));
    body(i, [&](const Vec<T>& v, T other) { return seen ? v : Splat(other); });
  }
}

// Zeroes the vectors of a row of `keys` scores that ForEachVisible left out.
template <class T>
inline void ZeroHidden(T* row, int64_t visible, int64_t keys) {
  for (int64_t i = TileStride(visible); i < keys; i += kLanes) Store(row + i, Vec<T>{});
}

}  // namespace choir
