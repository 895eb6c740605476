// Chunks of rows of logits on the CPU: gathering, the products with the head, the softmax of one
// row. Shared by the forward pass and the gradient of the head.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/check.h"
#include "ops/chain_product.h"
#include "ops/cross_entropy.h"
#include "ops/gemm.h"
#include "ops/log_sum_exp.h"
#include "ops/parallel_for.h"
#include "tensor/format_cast.h"

namespace choir {

struct LossInput {
  Tensor h;
  Tensor head;  // its values rounded to `format`
  Tensor labels;
  double scale;
  CrossEntropyOptions options;  // `vocabulary` filled in
  bool invariant;
  std::vector<int64_t> pieces;  // bounds of the pieces of the head's rows
  MatmulFormat format;          // of the products with the head

  int64_t width() const { return head.dim(1); }
  int64_t columns() const { return head.dim(0); }  // of the logits that are here
  // The column of row t's label; -1 if another rank has it.
  int64_t LabelColumn(int64_t t) const {
    const int64_t column = labels.data<int32_t>()[t] - options.first_row;
    return column < columns() ? std::max<int64_t>(column, -1) : -1;
  }
};

// Lists the rows of [begin, end) that have a label; returns how many.
inline int64_t CompactRows(const LossInput& in, int64_t begin, int64_t end, int32_t* rows) {
  const int32_t* label = in.labels.data<int32_t>();
  int64_t count = 0;
  for (int64_t t = begin; t < end; ++t) {
    CHECK(label[t] >= -1 && label[t] < in.options.vocabulary)
        << "label " << label[t] << " at " << t << " with a vocabulary of " << in.options.vocabulary;
    if (label[t] >= 0) rows[count++] = static_cast<int32_t>(t);
  }
  return count;
}

// body(i, t) for the i-th row of a chunk, which is row t of the whole.
template <class Body>
void ForEachChunkRow(std::span<const int32_t> rows, int64_t width, const Body& body) {
  ParallelRanges(static_cast<int64_t>(rows.size()), RowGrain(width),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t i = begin; i < end; ++i) body(i, rows[static_cast<size_t>(i)]);
                 });
}

// True if the rows do not lie one after another.
inline bool HaveGaps(std::span<const int32_t> rows) {
  return rows.back() - rows.front() != static_cast<int64_t>(rows.size()) - 1;
}

// Rounds to the format of the products, in place.
template <class T>
void RoundForProduct(const LossInput& in, T* x, int64_t n) {
  if (in.format == MatmulFormat::kFull) return;
  if constexpr (std::is_same_v<T, float>) {
    RoundTo(in.format == MatmulFormat::kBF16 ? NumberFormat::kBF16 : NumberFormat::kF16, x, x, n);
  } else {
    CHECK(false) << "products with rounded operands are for F32";
  }
}

// The rows of h, rounded and without gaps: in place if both change nothing, or else in `scratch`.
template <class T>
const T* GatherRows(const LossInput& in, std::span<const int32_t> rows, const Tensor& scratch) {
  const int64_t width = in.width();
  const T* from = in.h.data<T>();
  if (!HaveGaps(rows) && in.format == MatmulFormat::kFull) return from + rows.front() * width;
  T* h = scratch.data<T>();
  ForEachChunkRow(rows, width, [&](int64_t i, int64_t t) {
    std::copy_n(from + t * width, width, h + i * width);
    RoundForProduct(in, h + i * width, width);
  });
  return h;
}

// logits[i, v] = h[i] . head[v] of `count` rows.
template <class T>
void ChunkLogits(const LossInput& in, int64_t count, const T* h, T* logits) {
  if (in.columns() == 0) return;
  const GemmArgs<T> product{.transpose_b = Transpose::kYes,
                            .m = count,
                            .n = in.columns(),
                            .k = in.width(),
                            .a = h,
                            .lda = in.width(),
                            .b = in.head.data<T>(),
                            .ldb = in.width(),
                            .c = logits,
                            .ldc = in.columns()};
  if (in.invariant) {
    ChainProduct(product);
  } else {
    GemmParallel(product);
  }
}

// sum(e^(x - shift)) of one row: piece by piece, so that a piece's sum depends on the piece alone,
// and the pieces as a balanced tree. With `kStore`, x becomes e^(x - shift).
template <bool kStore, class T>
double PieceExpSum(const LossInput& in, T* x, T shift) {
  std::array<double, kVirtualPieces> sum{};
  const auto count = static_cast<int64_t>(in.pieces.size()) - 1;
  for (size_t p = 0; p < static_cast<size_t>(count); ++p) {
    T* first = x + in.pieces[p];
    sum[p] = RowExpSum<kStore>(first, shift, first, in.pieces[p + 1] - in.pieces[p]);
  }
  TreeSum(count, [&](int64_t to, int64_t from) {
    sum[static_cast<size_t>(to)] += sum[static_cast<size_t>(from)];
  });
  return sum[0];
}

// Turns e^(x - maximum) of row t into `seed` times the gradient of the loss by its logits:
// factor * e^(x - maximum), less `scale` at the label. With a format of fewer bits, the gradient is
// rounded to it when divided by the power of two in `scale`: so it lies in the middle of the
// range of F16, and no scale of the loss is needed for its sake.
template <class T>
void ToLogitGradient(const LossInput& in, int64_t t, T factor, double seed, T* x) {
  const bool full = in.format == MatmulFormat::kFull;
  const double unit = full || in.scale == 0 ? 1 : std::ldexp(1, -std::ilogb(in.scale));
  const double times = full ? seed : unit;
  RowScale(x, static_cast<T>(factor * static_cast<T>(times)), in.columns());
  if (const int64_t label = in.LabelColumn(t); label >= 0) {
    x[label] -= static_cast<T>(in.scale * times);
  }
  if (full) return;
  RoundForProduct(in, x, in.columns());
  RowScale(x, static_cast<T>(seed / unit), in.columns());
}

}  // namespace choir
