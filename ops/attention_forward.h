// The forward kernel of attention on the CPU: one block of rows against all keys that it sees.
#pragma once

#include <cmath>

#include "ops/attention_tiles.h"

namespace choir {

// Queries and keys of one document, and one key-value group.
template <class T>
struct AttentionForward {
  HeadRows<const T> q;
  const T *k, *v;  // of the first key
  int64_t key_stride;
  int64_t keys;
  // Keys before the token of row 0; the token itself and those behind it see one more each, as far
  // as there are keys.
  int64_t past;
  T scale;
  HeadRows<T> out;
  T* lse;              // log-sum-exp of row 0; null: not wanted
  int64_t lse_stride;  // between tokens
  // `out` and `lse` hold what these rows have from other keys, which they see as well.
  bool resume = false;
};

// The softmax of a row so far: what was subtracted, and the sum of the exponentials.
template <class T>
struct RunningSoftmax {
  T max = -std::numeric_limits<T>::infinity();
  T sum = 0;

  // Replaces the scores of a row by their exponentials (0 for hidden ones), and returns what the
  // earlier exponentials of this row are to be multiplied by.
  T Add(T* row, int64_t visible, int64_t keys) {
    constexpr T kLowest = -std::numeric_limits<T>::infinity();
    if (visible == 0) {
      ZeroHidden(row, 0, keys);
      return 1;
    }
    Vec<T> top = Splat(max);
    ForEachVisible<T>(
        visible, [&](int64_t i, auto mask) { top = Max<T>(mask(Load(row + i), kLowest), top); });
    const T old = max;
    max = MaxLanes<T>(top);
    Vec<T> total{};
    ForEachVisible<T>(visible, [&](int64_t i, auto mask) {
      const Vec<T> e = Exp(mask(Load(row + i), kLowest) - max);
      Store(row + i, e);
      total += e;
    });
    ZeroHidden(row, visible, keys);
    const T factor = std::exp(old - max);
    sum = sum * factor + SumLanes<T>(total);
    return factor;
  }
};

// A finished row is a running one with its log-sum-exp as the maximum and a sum of 1: so partial
// results are added up (Milakov and Gimelshein, arXiv 1805.02867; Liu et al., arXiv 2310.01889).
template <class T>
void ResumeRows(const AttentionForward<T>& a, int64_t begin, int64_t end, RunningSoftmax<T>* to,
                T* out) {
  for (int64_t row = begin; row < end; ++row, ++to, out += a.q.head_dim) {
    to->max = a.lse[row / a.q.heads * a.lse_stride + row % a.q.heads];
    to->sum = 1;
    std::copy_n(a.out[row], a.q.head_dim, out);
  }
}

// Rows [begin, end), at most TileRows.
template <class T>
void AttendRows(const AttentionForward<T>& a, int64_t begin, int64_t end) {
  alignas(64) T q[kRowElements], out[kRowElements], scores[kTileRows * kTileKeys];
  const int64_t rows = end - begin, dim = a.q.head_dim;
  auto keys_seen = [&](int64_t row) { return std::min(a.keys, a.past + row / a.q.heads + 1); };
  RunningSoftmax<T> softmax[kTileRows];
  PackRows(a.q, begin, end, a.scale, q);
  if (a.resume) ResumeRows(a, begin, end, softmax, out);
  for (int64_t first = 0; first < keys_seen(end - 1); first += kTileKeys) {
    const int64_t keys = std::min(kTileKeys, keys_seen(end - 1) - first);
    const int64_t stride = TileStride(keys);
    const bool fresh = first == 0 && !a.resume;
    TileGemm(GemmArgs<T>{Transpose::kNo, Transpose::kYes, rows, keys, dim, T(1), q, dim,
                         a.k + first * a.key_stride, a.key_stride, T(0), scores, stride});
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t visible = std::clamp<int64_t>(keys_seen(begin + i) - first, 0, keys);
      const T factor = softmax[i].Add(scores + i * stride, visible, keys);
      if (fresh || factor == 1) continue;
      T* row = out + i * dim;
      ForEachVec<T>(dim, [&](int64_t, auto load, auto store) { store(row, factor * load(row)); });
    }
    TileGemm(GemmArgs<T>{Transpose::kNo, Transpose::kNo, rows, dim, keys, T(1), scores, stride,
                         a.v + first * a.key_stride, a.key_stride, T(fresh ? 0 : 1), out, dim});
  }
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t row = begin + i;
    const T* from = out + i * dim;
    T* to = a.out[row];
    const T factor = 1 / softmax[i].sum;
    ForEachVec<T>(dim, [&](int64_t, auto load, auto store) { store(to, factor * load(from)); });
    if (a.lse != nullptr) {
      a.lse[row / a.q.heads * a.lse_stride + row % a.q.heads] =
          softmax[i].max + std::log(softmax[i].sum);
    }
  }
}

}  // namespace choir
