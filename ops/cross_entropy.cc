#include "ops/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/fault.h"
#include "ops/cross_entropy_rows.h"
#include "ops/elementwise.h"
#include "ops/gemm.h"
#include "ops/launch.h"
#include "ops/low_product.h"
#include "ops/parallel_for.h"

namespace choir {
namespace {

// Elements of the logits that exist together, and the fewest rows that keep the products fast.
constexpr int64_t kChunkElements = int64_t{4} << 20;
constexpr int64_t kMinChunkRows = 128;

struct LossOutput {
  Tensor loss, token_nll;
  // Undefined when no gradient is wanted.
  Tensor dh;
  Tensor dhead;    // fast mode
  Tensor softmax;  // [T, 2], invariant mode: a row's maximum and the factor of its exponentials
};

struct Scratch {
  Tensor rows;      // i32[T]: the rows with a label, ascending
  Tensor row_loss;  // f64[T]: their losses
  Tensor logits;    // [R, V]: of one chunk; turned into their gradient in place
  Tensor high;      // [R]: largest logits
  Tensor sums;      // f64[R, 2]: of exponentials; the labels' logits
  Tensor h, dh;     // [R, C]: rows of one chunk without gaps

  int64_t chunk_rows() const { return logits.dim(0); }
};

// The same on every member of a group, whose parts may differ in size by one row.
int64_t ChunkRows(const LossInput& in) {
  const int64_t ranks = in.options.vocabulary_group ? in.options.vocabulary_group->size() : 1;
  const int64_t columns = std::max<int64_t>(1, (in.options.vocabulary + ranks - 1) / ranks);
  const int64_t wanted =
      in.options.chunk_rows > 0
          ? in.options.chunk_rows
          : std::max(kMinChunkRows, kChunkElements / columns / kMinChunkRows * kMinChunkRows);
  return std::min(wanted, in.h.dim(0));
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

// dh = dlogits head and dhead = beta dhead + dlogits^T h, which do not depend on each other: one
// set of tasks. The sums over the vocabulary are the longest, so dh has the smaller tiles.
template <class T>
void FastGradients(const LossInput& in, const GemmArgs<T>& to_h, const T* h, const Tensor& dhead,
                   T beta) {
  const GemmArgs<T> to_head{.transpose_a = Transpose::kYes,
                            .m = in.columns(),
                            .n = in.width(),
                            .k = to_h.m,
                            .a = to_h.a,
                            .lda = in.columns(),
                            .b = h,
                            .ldb = in.width(),
                            .beta = beta,
                            .c = dhead.data<T>(),
                            .ldc = in.width()};
  constexpr int64_t kTall = 128, kWide = 512;
  const int64_t h_tiles = TileCount(to_h, kTall, kWide);
  ParallelFor(h_tiles + TileCount(to_head, kWide, kWide), [&](int64_t i) {
    Gemm(i < h_tiles ? TileOf(to_h, i, kTall, kWide) : TileOf(to_head, i - h_tiles, kWide, kWide));
  });
}

// The chunks of one call, one after another.
template <class T>
class ChunkRunner {
 public:
  ChunkRunner(const LossInput& in, const LossOutput& out, const Scratch& scratch)
      : in_(in), out_(out), scratch_(scratch) {}

  void Run() {
    int32_t* rows = scratch_.rows.data<int32_t>();
    const int64_t all = in_.h.dim(0), count = CompactRows(in_, 0, all, rows);
    double* row_loss = scratch_.row_loss.data<double>();
    if (out_.dhead.defined() && count == 0) out_.dhead.Zero();
    for (int64_t begin = 0; begin < count; begin += scratch_.chunk_rows()) {
      const int64_t size = std::min(scratch_.chunk_rows(), count - begin);
      RunChunk({rows + begin, static_cast<size_t>(size)}, begin == 0, row_loss + begin);
    }
    if (count < all) ClearRowsWithoutLabel();
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += row_loss[i];
    *out_.loss.template data<T>() = static_cast<T>(in_.scale * sum);
  }

 private:
  bool gradient() const { return out_.dh.defined(); }

  void RunChunk(std::span<const int32_t> rows, bool first, double* row_loss) {
    const auto count = static_cast<int64_t>(rows.size());
    const T* h = GatherRows<T>(in_, rows, scratch_.h);
    ChunkLogits(in_, count, h, logits());
    Softmax(rows, row_loss);
    if (gradient()) Gradients(rows, h, first ? T(0) : T(1));
  }

  // From logits to losses and, in place, to exponentials and the gradient by logits. With a group,
  // one exchange serves all rows of a chunk.
  void Softmax(std::span<const int32_t> rows, double* row_loss) {
    RankGroup* group = in_.options.vocabulary_group;
    if (group == nullptr) {
      return ForEachChunkRow(rows, in_.columns(), [&](int64_t i, int64_t t) {
        Maximum(i);
        Sums(i, t);
        row_loss[i] = Finish(i, t);
      });
    }
    const auto count = static_cast<int64_t>(rows.size());
    ForEachChunkRow(rows, in_.columns(), [&](int64_t i, int64_t) { Maximum(i); });
    group->Max(scratch_.high.Rows(0, count));
    ForEachChunkRow(rows, in_.columns(), [&](int64_t i, int64_t t) { Sums(i, t); });
    group->Sum(scratch_.sums.Rows(0, count));
    ForEachChunkRow(rows, in_.columns(), [&](int64_t i, int64_t t) { row_loss[i] = Finish(i, t); });
  }

  void Maximum(int64_t i) { high()[i] = RowMax(logits() + i * in_.columns(), in_.columns()); }

  void Sums(int64_t i, int64_t t) {
    T* x = logits() + i * in_.columns();
    const int64_t label = in_.LabelColumn(t);
    sums()[2 * i + 1] = label < 0 ? 0.0 : static_cast<double>(x[label]);
    sums()[2 * i] =
        gradient() ? PieceExpSum<true>(in_, x, high()[i]) : PieceExpSum<false>(in_, x, high()[i]);
  }

  // The loss of one row.
  double Finish(int64_t i, int64_t t) {
    const double sum = sums()[2 * i], z_loss = in_.options.z_loss;
    const double log_sum = static_cast<double>(high()[i]) + std::log(sum);
    const double nll = log_sum - sums()[2 * i + 1];
    if (gradient()) {
      const T factor = static_cast<T>(in_.scale * (1 + 2 * z_loss * log_sum) / sum);
      ToLogitGradient(in_, t, factor, 1, logits() + i * in_.columns());
      if (in_.invariant) {
        out_.softmax.template data<T>()[2 * t] = high()[i];
        out_.softmax.template data<T>()[2 * t + 1] = factor;
      }
    }
    out_.token_nll.template data<T>()[t] = static_cast<T>(nll);
    return nll + z_loss * log_sum * log_sum;
  }

  void Gradients(std::span<const int32_t> rows, const T* h, T beta) {
    const int64_t width = in_.width();
    const auto count = static_cast<int64_t>(rows.size());
    const bool gaps = HaveGaps(rows);
    T* all = out_.dh.template data<T>();
    T* dh = gaps ? scratch_.dh.template data<T>() : all + rows.front() * width;
    const GemmArgs<T> to_h{.m = count,
                           .n = width,
                           .k = in_.columns(),
                           .a = logits(),
                           .lda = in_.columns(),
                           .b = in_.head.data<T>(),
                           .ldb = width,
                           .c = dh,
                           .ldc = width};
    if (in_.columns() == 0) {
      std::fill_n(dh, count * width, T(0));
    } else if (in_.invariant) {
      ChainProduct(to_h, in_.pieces);
    } else {
      FastGradients(in_, to_h, h, out_.dhead, beta);
    }
    if (!gaps) return;
    ForEachChunkRow(rows, width, [&](int64_t i, int64_t t) {
      std::copy_n(dh + i * width, width, all + t * width);
    });
  }

  void ClearRowsWithoutLabel() {
    const int32_t* label = in_.labels.data<int32_t>();
    for (int64_t t = 0; t < in_.labels.NumElements(); ++t) {
      if (label[t] >= 0) continue;
      out_.token_nll.template data<T>()[t] = 0;
      if (!gradient()) continue;
      std::fill_n(out_.dh.template data<T>() + t * in_.width(), in_.width(), T(0));
      if (in_.invariant) std::fill_n(out_.softmax.template data<T>() + 2 * t, 2, T(0));
    }
  }

  T* logits() { return scratch_.logits.template data<T>(); }
  T* high() { return scratch_.high.template data<T>(); }
  double* sums() { return scratch_.sums.template data<double>(); }

  const LossInput& in_;
  const LossOutput& out_;
  const Scratch& scratch_;
};

// On meta all rows have labels; nothing is computed, but groups see the calls.
void ExchangeOnMeta(const LossInput& in, const Scratch& scratch) {
  RankGroup* group = in.options.vocabulary_group;
  if (group == nullptr) return;
  for (int64_t begin = 0; begin < in.h.dim(0); begin += scratch.chunk_rows()) {
    const int64_t size = std::min(scratch.chunk_rows(), in.h.dim(0) - begin);
    group->Max(scratch.high.Rows(0, size));
    group->Sum(scratch.sums.Rows(0, size));
  }
}

LossOutput FusedLoss(const LossInput& in, bool gradient) {
  const int64_t rows = in.h.dim(0), width = in.width();
  const TensorOptions result = in.h.options(MemoryCategory::kActivations);
  const TensorOptions scratch_options = in.h.options(MemoryCategory::kWorkspace);
  const TensorOptions wide{DType::kF64, result.device, MemoryCategory::kWorkspace};
  LossOutput out{Tensor::Empty({1}, result), Tensor::Empty({rows}, result), {}, {}, {}};
  if (gradient) {
    out.dh = Tensor::Empty({rows, width}, result);
    (in.invariant ? out.softmax : out.dhead) =
        Tensor::Empty(in.invariant ? Shape{rows, 2} : in.head.shape(), result);
  }
  const int64_t chunk_rows = ChunkRows(in);
  Scratch scratch{Tensor::Empty({rows}, {DType::kI32, result.device, MemoryCategory::kWorkspace}),
                  Tensor::Empty({rows}, wide),
                  Tensor::Empty({chunk_rows, in.columns()}, scratch_options),
                  Tensor::Empty({chunk_rows}, scratch_options),
                  Tensor::Empty({chunk_rows, 2}, wide),
                  Tensor::Empty({chunk_rows, width}, scratch_options),
                  {}};
  if (gradient) scratch.dh = Tensor::Empty({chunk_rows, width}, scratch_options);
  if (result.device == Device::kMeta) ExchangeOnMeta(in, scratch);
  Launch(result.device, "cross_entropy", [&] {
    DispatchFloat(result.dtype, [&]<class T>() { ChunkRunner<T>(in, out, scratch).Run(); });
  });
  return out;
}

// The head's gradient in invariant mode, made from the logits once more.
struct HeadGradient {
  LossInput in;
  Tensor softmax;
  double seed;

  // Adds what rows [begin, end) contribute: for each element one chain over the rows.
  void AddTo(const Tensor& grad, int64_t begin, int64_t end) const {
    const int64_t chunk_rows = std::min(ChunkRows(in), end - begin);
    const TensorOptions options = in.h.options(MemoryCategory::kWorkspace);
    const Tensor logits = Tensor::Empty({chunk_rows, in.columns()}, options);
    const Tensor h = Tensor::Empty({chunk_rows, in.width()}, options);
    const Tensor rows =
        Tensor::Empty({end - begin}, {DType::kI32, options.device, options.category});
    Launch(options.device, "cross_entropy head gradient", [&] {
      const int64_t count = CompactRows(in, begin, end, rows.data<int32_t>());
      DispatchFloat(options.dtype, [&]<class T>() {
        for (int64_t first = 0; first < count; first += chunk_rows) {
          const auto size = static_cast<size_t>(std::min(chunk_rows, count - first));
          AddChunk<T>(grad, {rows.data<int32_t>() + first, size}, logits, h);
        }
      });
    });
  }

 private:
  template <class T>
  void AddChunk(const Tensor& grad, std::span<const int32_t> rows, const Tensor& logits,
                const Tensor& scratch) const {
    const auto count = static_cast<int64_t>(rows.size());
    const T* h = GatherRows<T>(in, rows, scratch);
    T* x = logits.data<T>();
    ChunkLogits(in, count, h, x);
    ForEachChunkRow(rows, in.columns(), [&](int64_t i, int64_t t) {
      const T* row = softmax.data<T>() + 2 * t;
      PieceExpSum<true>(in, x + i * in.columns(), row[0]);
      ToLogitGradient(in, t, row[1], seed, x + i * in.columns());
    });
    ChainProduct(GemmArgs<T>{.transpose_a = Transpose::kYes,
                             .m = in.columns(),
                             .n = in.width(),
                             .k = count,
                             .a = x,
                             .lda = in.columns(),
                             .b = h,
                             .ldb = in.width(),
                             .beta = T(1),
                             .c = grad.data<T>(),
                             .ldc = in.width()});
  }
};

void CheckArguments(const Var& h, const Parameter& head, const Tensor& labels,
                    const CrossEntropyOptions& options) {
  CHECK(h.shape().rank() == 2 && head.shape().rank() == 2) << head.name;
  CHECK(h.dim(1) == head.shape().dim(1)) << head.name << " " << head.shape();
  CHECK(labels.dtype() == DType::kI32 && labels.NumElements() == h.dim(0));
  CHECK(options.chunk_rows >= 0 && options.z_loss >= 0);
  CHECK(options.first_row >= 0 && options.first_row + head.shape().dim(0) <= options.vocabulary)
      << head.name << ": row " << options.first_row << " of " << options.vocabulary;
}

// A factor that rounds nothing; 0 too.
bool IsPowerOfTwo(double x) {
  int exponent;
  return x == 0 || std::frexp(x, &exponent) == 0.5;
}

// The bounds of the pieces that the head's rows are summed in.
std::vector<int64_t> Pieces(const SumPieces& pieces, bool invariant, int64_t rows) {
  if (!invariant || pieces == nullptr) return {0, rows};
  CHECK(pieces->size() >= 2 && pieces->size() <= kVirtualPieces + 1);
  CHECK(pieces->front() == 0 && pieces->back() == rows) << "pieces of other rows";
  return *pieces;
}

// The head's values as its products read them.
Tensor RoundedHead(const Parameter& head, const CrossEntropyOptions& options) {
  const MatmulFormat format = head.matmul.format;
  CHECK(format != MatmulFormat::kFp8Block && format != MatmulFormat::kMxfp8)
      << head.name << ": the head has no 8-bit products";
  const Tensor value = head.Value();
  if (format == MatmulFormat::kFull) return value;
  if (options.vocabulary_group != nullptr && Injected(Fault::kHeadPartNotRounded)) return value;
  return RoundMatrix({value, Transpose::kYes, OperandRole::kWeight},
                     RoundingOf(head.matmul, OperandRole::kWeight, false), nullptr)
      .values;
}

}  // namespace

CrossEntropyResult CrossEntropy(Tape& tape, const Var& h, Parameter& head, const Tensor& labels,
                                double scale, const CrossEntropyOptions& asked) {
  CrossEntropyOptions options = asked;
  if (options.vocabulary == 0) options.vocabulary = head.shape().dim(0);
  CheckArguments(h, head, labels, options);
  const bool invariant = tape.invariant(), alone = options.vocabulary_group == nullptr;
  const auto pieces = Pieces(options.vocabulary_pieces, invariant, head.shape().dim(0));
  auto input = [&head, labels, scale, options, invariant, pieces](const Tensor& h) {
    return LossInput{h,      RoundedHead(head, options), labels, scale, options, invariant,
                     pieces, head.matmul.format};
  };
  const Saved hs = h.Save();
  if (!tape.recording()) {
    std::vector<Var> results =
        tape.Compute({"loss", "loss.token_nll"}, [input, hs]() -> std::vector<Tensor> {
          const LossOutput out = FusedLoss(input(hs.Get()), false);
          return {out.loss, out.token_nll};
        });
    return {results[0], results[1]};
  }
  tape.Use(head);
  std::vector<Var> results =
      tape.Compute({"loss", "loss.token_nll", "loss.dh", invariant ? "loss.softmax" : "loss.dhead"},
                   [input, hs, invariant]() -> std::vector<Tensor> {
                     const LossOutput out = FusedLoss(input(hs.Get()), true);
                     return {out.loss, out.token_nll, out.dh, invariant ? out.softmax : out.dhead};
                   });
  tape.Record({&results[0]}, [dh = results[2].Save(), rest = results[3].Save(), gh = h.grad(),
                              &head, input, hs, invariant, alone, rows = tape.rows()](Sink& sink) {
    const double seed = ScalarValue(sink.OutputGrad(0));
    CHECK(!invariant || alone || IsPowerOfTwo(seed))
        << "the parts of dh times " << seed << " are rounded before they are summed";
    if (gh != nullptr) {
      // Nobody else sees this tensor, and this closure runs once: it may be scaled in place.
      if (seed != 1) ScaleInPlace(dh.Get(), seed);
      sink.Add(gh, dh.Get());
    }
    if (invariant) {
      // The head's value is asked for when it is needed, which may be later.
      sink.Weight(head, rows, hs.Get().dim(0),
                  [input, h = hs.Get(), softmax = rest.Get(), seed](const Tensor& grad,
                                                                    int64_t begin, int64_t end) {
                    HeadGradient{input(h), softmax, seed}.AddTo(grad, begin, end);
                  });
      return;
    }
    sink.Weight(
        head, [dhead = rest.Get(), seed](const Tensor& grad) { AddScaledInto(grad, dhead, seed); });
  });
  return {results[0], results[1]};
}

Tensor Logits(const Tensor& h, const Parameter& head) {
  const Tensor value = head.Value();
  CHECK(h.shape().rank() == 2 && h.dim(1) == value.dim(1)) << head.name;
  Tensor logits = Tensor::Empty({h.dim(0), value.dim(0)}, h.options(MemoryCategory::kActivations));
  ProductInto(logits, {h}, {value, Transpose::kYes, OperandRole::kWeight}, 0.0, head.matmul, {});
  return logits;
}

}  // namespace choir
