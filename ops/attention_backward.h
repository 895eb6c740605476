// The backward kernel of attention on the CPU: one chunk of queries against one chunk of keys.
#pragma once

#include "ops/attention_tiles.h"

namespace choir {

// Queries and keys of one document, and one key-value group; pointers are those of the first query
// and of the first key.
template <class T>
struct AttentionBackward {
  HeadRows<const T> q, out, dout;
  const T *k, *v;
  int64_t key_stride;
  int64_t queries, keys;
  int64_t past;  // as AttentionForward
  const T* lse;
  int64_t lse_stride;
  T scale;
  HeadRows<T> dq;
  T *dk, *dv;  // as k and v
  bool add;    // to dq, dk and dv whatever they hold
};

// Turns a row of scores and of dout . v into probabilities and gradients of the scores.
template <class T>
void SoftmaxGradRow(T* scores, T* dp, int64_t visible, int64_t keys, T lse, T delta) {
  ForEachVisible<T>(visible, [&](int64_t i, auto mask) {
    const Vec<T> p = Exp(mask(Load(scores + i), -std::numeric_limits<T>::infinity()) - lse);
    Store(scores + i, p);
    Store(dp + i, mask(p * (Load(dp + i) - delta), T(0)));
  });
  ZeroHidden(scores, visible, keys);
  ZeroHidden(dp, visible, keys);
}

// The part of the gradients that rows [begin, end), at most TileRows, and keys
// [first, first + keys), at most kTileKeys and all seen by the last row, have in common. `fresh_q`,
// `fresh_kv`: overwrites dq, dk and dv, otherwise adds.
struct BackwardTile {
  int64_t begin, end, first, keys;
  bool fresh_q, fresh_kv;
};

template <class T>
void BackwardRows(const AttentionBackward<T>& a, const BackwardTile& tile) {
  alignas(64) T q[kRowElements], dout[kRowElements], dq[kRowElements];
  alignas(64) T scores[kTileRows * kTileKeys], dp[kTileRows * kTileKeys];
  const auto [begin, end, first, keys, fresh_q, fresh_kv] = tile;
  const int64_t rows = end - begin, dim = a.q.head_dim, stride = TileStride(keys);
  const T *k = a.k + first * a.key_stride, *v = a.v + first * a.key_stride;
  T *dk = a.dk + first * a.key_stride, *dv = a.dv + first * a.key_stride;
  const T beta_kv = fresh_kv ? 0 : 1;
  constexpr Transpose kNo = Transpose::kNo, kYes = Transpose::kYes;

  PackRows(a.q, begin, end, a.scale, q);
  PackRows(a.dout, begin, end, T(1), dout);
  TileGemm(
      GemmArgs<T>{kNo, kYes, rows, keys, dim, T(1), q, dim, k, a.key_stride, T(0), scores, stride});
  TileGemm(
      GemmArgs<T>{kNo, kYes, rows, keys, dim, T(1), dout, dim, v, a.key_stride, T(0), dp, stride});
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t token = (begin + i) / a.q.heads, head = (begin + i) % a.q.heads;
    const int64_t visible = std::clamp<int64_t>(a.past + token + 1 - first, 0, keys);
    const T delta = Dot(dout + i * dim, a.out[begin + i], dim);
    SoftmaxGradRow(scores + i * stride, dp + i * stride, visible, keys,
                   a.lse[token * a.lse_stride + head], delta);
  }
  TileGemm(GemmArgs<T>{kYes, kNo, keys, dim, rows, T(1), scores, stride, dout, dim, beta_kv, dv,
                       a.key_stride});
  TileGemm(
      GemmArgs<T>{kYes, kNo, keys, dim, rows, T(1), dp, stride, q, dim, beta_kv, dk, a.key_stride});
  TileGemm(
      GemmArgs<T>{kNo, kNo, rows, dim, keys, a.scale, dp, stride, k, a.key_stride, T(0), dq, dim});
  for (int64_t i = 0; i < rows; ++i) {
    T* to = a.dq[begin + i];
    const T* from = dq + i * dim;
    ForEachVec<T>(dim, [&](int64_t, auto load, auto store) {
      store(to, fresh_q ? load(from) : load(to) + load(from));
    });
  }
}

// Queries of chunk `i` against keys of chunk `j`, which the last of these queries sees whole, or up
// to itself; chunks have kTileKeys tokens. Adds to dq of chunk i and to dk, dv of chunk j, which
// i = j overwrites unless `add`.
template <class T>
void BackwardChunks(const AttentionBackward<T>& a, int64_t i, int64_t j) {
  const int64_t heads = a.q.heads, tile_rows = TileRows(a.q.head_dim);
  const int64_t row_begin = i * kTileKeys * heads;
  const int64_t row_end = std::min(a.queries, (i + 1) * kTileKeys) * heads;
  const int64_t first = j * kTileKeys, key_end = std::min(a.keys, first + kTileKeys);
  const int64_t blocks = (row_end - row_begin + tile_rows - 1) / tile_rows;
  // The last rows see all keys of the chunk, so they may overwrite.
  for (int64_t b = blocks - 1; b >= 0; --b) {
    BackwardTile tile;
    tile.begin = row_begin + b * tile_rows;
    tile.end = std::min(row_end, tile.begin + tile_rows);
    tile.first = first;
    tile.keys = std::min(key_end, a.past + (tile.end - 1) / heads + 1) - first;
    tile.fresh_q = i == j && !a.add;
    tile.fresh_kv = tile.fresh_q && b == blocks - 1;
    BackwardRows(a, tile);
  }
}

}  // namespace choir
