#include "ops/cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "ops/elementwise.h"
#include "ops/gemm.h"
#include "ops/launch.h"
#include "ops/log_sum_exp.h"
#include "ops/parallel_for.h"

namespace choir {
namespace {

// Elements of the logits that exist together, and the fewest rows that keep the products fast.
constexpr int64_t kChunkElements = int64_t{4} << 20;
constexpr int64_t kMinChunkRows = 128;

struct LossInput {
  Tensor h, head, labels;
  double scale;
  CrossEntropyOptions options;
};

struct LossOutput {
  Tensor loss, token_nll;
  Tensor dh, dhead;  // undefined when no gradient is wanted
};

struct Scratch {
  Tensor rows;      // i32[T]: the rows with a label, ascending
  Tensor row_loss;  // f64[T]: their losses
  Tensor logits;    // [R, V]: of one chunk; turned into their gradient in place
  Tensor h, dh;     // [R, C]: rows of one chunk without gaps
};

int64_t ChunkRows(const LossInput& in) {
  const int64_t rows = in.h.dim(0), vocabulary = in.head.dim(0);
  const int64_t wanted =
      in.options.chunk_rows > 0
          ? in.options.chunk_rows
          : std::max(kMinChunkRows, kChunkElements / vocabulary / kMinChunkRows * kMinChunkRows);
  return std::min(wanted, rows);
}

// Lists the rows with a label.
int64_t CompactRows(const LossInput& in, int32_t* rows) {
  const int32_t* label = in.labels.data<int32_t>();
  int64_t count = 0;
  for (int64_t t = 0; t < in.labels.NumElements(); ++t) {
    CHECK(label[t] >= -1 && label[t] < in.head.dim(0))
        << "label " << label[t] << " at " << t << " with a vocabulary of " << in.head.dim(0);
    if (label[t] >= 0) rows[count++] = static_cast<int32_t>(t);
  }
  return count;
}

// The loss of one row of logits, which become d(loss)/d(logits) if a gradient is wanted.
template <bool kGradient, class T>
double LossOfRow(T* x, int64_t n, int32_t label, const LossInput& in, T& nll) {
  const T high = RowMax(x, n);
  const double at_label = static_cast<double>(x[label]);
  const double sum = RowExpSum<kGradient>(x, high, x, n);
  const double log_sum = static_cast<double>(high) + std::log(sum);
  const double z_loss = in.options.z_loss;
  if constexpr (kGradient) {
    RowScale(x, static_cast<T>(in.scale * (1 + 2 * z_loss * log_sum) / sum), n);
    x[label] -= static_cast<T>(in.scale);
  }
  nll = static_cast<T>(log_sum - at_label);
  return log_sum - at_label + z_loss * log_sum * log_sum;
}

// Tile i of a product cut into tiles of at most `m` x `n`, columns of tiles outermost.
template <class T>
GemmArgs<T> TileOf(GemmArgs<T> g, int64_t i, int64_t m, int64_t n) {
  const int64_t rows = (g.m + m - 1) / m;
  const int64_t row = i % rows * m, column = i / rows * n;
  g.a += g.transpose_a == Transpose::kNo ? row * g.lda : row;
  g.b += g.transpose_b == Transpose::kNo ? column : column * g.ldb;
  g.c += row * g.ldc + column;
  g.m = std::min(m, g.m - row);
  g.n = std::min(n, g.n - column);
  return g;
}

template <class T>
int64_t TileCount(const GemmArgs<T>& g, int64_t m, int64_t n) {
  return (g.m + m - 1) / m * ((g.n + n - 1) / n);
}

// One chunk of rows, without gaps.
template <class T>
struct Chunk {
  int64_t rows;
  const T* h;
  T* logits;
  T* dh;
};

// dh = dlogits head and dhead = beta dhead + dlogits^T h, which do not depend on each other: one
// set of tasks. The sums over the vocabulary are the longest, so dh has the smaller tiles.
template <class T>
void ChunkGradients(const Chunk<T>& chunk, const LossInput& in, const Tensor& dhead, T beta) {
  const int64_t vocabulary = in.head.dim(0), width = in.head.dim(1);
  const GemmArgs<T> to_h{.m = chunk.rows,
                         .n = width,
                         .k = vocabulary,
                         .a = chunk.logits,
                         .lda = vocabulary,
                         .b = in.head.data<T>(),
                         .ldb = width,
                         .c = chunk.dh,
                         .ldc = width};
  const GemmArgs<T> to_head{.transpose_a = Transpose::kYes,
                            .m = vocabulary,
                            .n = width,
                            .k = chunk.rows,
                            .a = chunk.logits,
                            .lda = vocabulary,
                            .b = chunk.h,
                            .ldb = width,
                            .beta = beta,
                            .c = dhead.data<T>(),
                            .ldc = width};
  constexpr int64_t kTall = 128, kWide = 512;
  const int64_t h_tiles = TileCount(to_h, kTall, kWide);
  ParallelFor(h_tiles + TileCount(to_head, kWide, kWide), [&](int64_t i) {
    Gemm(i < h_tiles ? TileOf(to_h, i, kTall, kWide) : TileOf(to_head, i - h_tiles, kWide, kWide));
  });
}

// copy(i, t) for the i-th row of a chunk, which is row t of the whole.
template <class Copy>
void ForEachChunkRow(const int32_t* rows, int64_t count, int64_t width, const Copy& copy) {
  ParallelRanges(count, RowGrain(width), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) copy(i, rows[i]);
  });
}

template <class T>
void RunChunk(const LossInput& in, const LossOutput& out, const Scratch& scratch, int64_t begin,
              int64_t count) {
  const int64_t vocabulary = in.head.dim(0), width = in.head.dim(1);
  const int32_t* rows = scratch.rows.data<int32_t>() + begin;
  const int32_t* label = in.labels.data<int32_t>();
  const bool gaps = rows[count - 1] - rows[0] != count - 1;
  Chunk<T> chunk{count, in.h.data<T>() + rows[0] * width, scratch.logits.data<T>(), nullptr};
  if (gaps) {
    T* h = scratch.h.data<T>();
    ForEachChunkRow(rows, count, width, [&, from = in.h.data<T>()](int64_t i, int64_t t) {
      std::copy_n(from + t * width, width, h + i * width);
    });
    chunk.h = h;
  }
  GemmParallel(GemmArgs<T>{.transpose_b = Transpose::kYes,
                           .m = count,
                           .n = vocabulary,
                           .k = width,
                           .a = chunk.h,
                           .lda = width,
                           .b = in.head.data<T>(),
                           .ldb = width,
                           .c = chunk.logits,
                           .ldc = vocabulary});
  const bool gradient = out.dh.defined();
  ForEachChunkRow(rows, count, vocabulary, [&](int64_t i, int64_t t) {
    T* x = chunk.logits + i * vocabulary;
    T& nll = out.token_nll.data<T>()[t];
    scratch.row_loss.data<double>()[begin + i] =
        gradient ? LossOfRow<true>(x, vocabulary, label[t], in, nll)
                 : LossOfRow<false>(x, vocabulary, label[t], in, nll);
  });
  if (!gradient) return;
  T* dh = out.dh.data<T>();
  chunk.dh = gaps ? scratch.dh.data<T>() : dh + rows[0] * width;
  ChunkGradients(chunk, in, out.dhead, begin == 0 ? T(0) : T(1));
  if (gaps) {
    ForEachChunkRow(rows, count, width, [&](int64_t i, int64_t t) {
      std::copy_n(chunk.dh + i * width, width, dh + t * width);
    });
  }
}

// What rows without a label have.
template <class T>
void ClearRowsWithoutLabel(const LossInput& in, const LossOutput& out) {
  const int32_t* label = in.labels.data<int32_t>();
  const int64_t width = in.h.dim(1);
  for (int64_t t = 0; t < in.labels.NumElements(); ++t) {
    if (label[t] >= 0) continue;
    out.token_nll.data<T>()[t] = 0;
    if (out.dh.defined()) std::fill_n(out.dh.data<T>() + t * width, width, T(0));
  }
}

template <class T>
void RunChunks(const LossInput& in, const LossOutput& out, const Scratch& scratch) {
  const int64_t count = CompactRows(in, scratch.rows.data<int32_t>());
  const int64_t chunk_rows = scratch.logits.dim(0);
  for (int64_t begin = 0; begin < count; begin += chunk_rows) {
    RunChunk<T>(in, out, scratch, begin, std::min(chunk_rows, count - begin));
  }
  if (count < in.h.dim(0)) ClearRowsWithoutLabel<T>(in, out);
  if (count == 0 && out.dhead.defined()) out.dhead.Zero();
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += scratch.row_loss.data<double>()[i];
  *out.loss.data<T>() = static_cast<T>(in.scale * sum);
}

LossOutput FusedLoss(const LossInput& in, bool gradient) {
  const int64_t rows = in.h.dim(0), vocabulary = in.head.dim(0), width = in.head.dim(1);
  const TensorOptions result = in.h.options(MemoryCategory::kActivations);
  const TensorOptions scratch_options = in.h.options(MemoryCategory::kWorkspace);
  LossOutput out{Tensor::Empty({1}, result), Tensor::Empty({rows}, result), {}, {}};
  if (gradient) {
    out.dh = Tensor::Empty({rows, width}, result);
    out.dhead = Tensor::Empty({vocabulary, width}, result);
  }
  const int64_t chunk_rows = ChunkRows(in);
  Scratch scratch{Tensor::Empty({rows}, {DType::kI32, result.device, MemoryCategory::kWorkspace}),
                  Tensor::Empty({rows}, {DType::kF64, result.device, MemoryCategory::kWorkspace}),
                  Tensor::Empty({chunk_rows, vocabulary}, scratch_options),
                  Tensor::Empty({chunk_rows, width}, scratch_options),
                  {}};
  if (gradient) scratch.dh = Tensor::Empty({chunk_rows, width}, scratch_options);
  Launch(result.device, "cross_entropy",
         [&] { DispatchFloat(result.dtype, [&]<class T>() { RunChunks<T>(in, out, scratch); }); });
  return out;
}

}  // namespace

CrossEntropyResult CrossEntropy(Tape& tape, const Var& h, Parameter& head, const Tensor& labels,
                                double scale, const CrossEntropyOptions& options) {
  CHECK(h.shape().rank() == 2 && head.value.shape().rank() == 2) << head.name;
  CHECK(h.dim(1) == head.value.dim(1)) << head.name << " " << head.value.shape();
  CHECK(labels.dtype() == DType::kI32 && labels.NumElements() == h.dim(0));
  CHECK(options.chunk_rows >= 0 && options.z_loss >= 0);
  Saved hs = h.Save();
  auto run = [hs, &head, labels, scale, options](bool gradient) {
    return FusedLoss({hs.Get(), head.value, labels, scale, options}, gradient);
  };
  if (!tape.recording()) {
    std::vector<Var> results =
        tape.Compute({"loss", "loss.token_nll"}, [run]() -> std::vector<Tensor> {
          const LossOutput out = run(false);
          return {out.loss, out.token_nll};
        });
    return {results[0], results[1]};
  }
  tape.Use(head);
  std::vector<Var> results = tape.Compute({"loss", "loss.token_nll", "loss.dh", "loss.dhead"},
                                          [run]() -> std::vector<Tensor> {
                                            const LossOutput out = run(true);
                                            return {out.loss, out.token_nll, out.dh, out.dhead};
                                          });
  tape.Record({&results[0]}, [dh = results[2].Save(), dhead = results[3].Save(), gh = h.grad(),
                              &head](Sink& sink) {
    const double seed = ScalarValue(sink.OutputGrad(0));
    if (gh != nullptr) {
      // Nobody else sees this tensor, and this closure runs once: it may be scaled in place.
      if (seed != 1) ScaleInPlace(dh.Get(), seed);
      sink.Add(gh, dh.Get());
    }
    sink.Weight(head, [dhead = dhead.Get(), seed](const Tensor& grad) {
      AddScaledInto(grad, dhead, seed);
    });
  });
  return {results[0], results[1]};
}

Tensor Logits(const Tensor& h, const Parameter& head) {
  CHECK(h.shape().rank() == 2 && h.dim(1) == head.value.dim(1)) << head.name;
  Tensor logits =
      Tensor::Empty({h.dim(0), head.value.dim(0)}, h.options(MemoryCategory::kActivations));
  MatmulInto(logits, h, Transpose::kNo, head.value, Transpose::kYes, 0.0);
  return logits;
}

}  // namespace choir
