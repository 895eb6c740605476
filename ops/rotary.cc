#include "ops/rotary.h"

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "ops/launch.h"
#include "ops/parallel_for.h"
#include "ops/rms_norm.h"
#include "ops/rms_norm_blocks.h"
#include "ops/rms_norm_rows.h"
#include "ops/simd.h"

namespace choir {
namespace {

// Bounds the rows on the stack.
constexpr int kMaxDims = 1024;
// Tokens of a task, and of a partial sum of the norms' gradients.
constexpr int64_t kBlockTokens = 32;

// The turn of one position, laid out so that y[d] = x[d] * cos[d] + x[partner of d] * sin[d].
template <class T>
struct Turn {
  int dims;
  RotaryStyle style;
  alignas(64) T cos[kMaxDims];
  alignas(64) T sin[kMaxDims];

  explicit Turn(const RotaryOptions& options) : dims(options.dims), style(options.style) {}

  // `direction` is 1, or -1 for the transpose, which gradients take.
  void Set(const RotaryTable& table, int32_t position, double direction) {
    std::array<double, kMaxDims / 2> c, s;
    const auto half = static_cast<size_t>(dims / 2);
    table.CosSin(position, {c.data(), half}, {s.data(), half});
    const bool adjacent = style == RotaryStyle::kAdjacentPairs;
    for (size_t i = 0; i < half; ++i) {
      const size_t x = adjacent ? 2 * i : i, y = adjacent ? 2 * i + 1 : i + half;
      cos[x] = cos[y] = static_cast<T>(c[i]);
      sin[y] = static_cast<T>(direction * s[i]);
      sin[x] = -sin[y];
    }
  }

  // Turns the leading dims of a head; y may not be x.
  void Apply(const T* x, T* y) const {
    if (style == RotaryStyle::kHalfSplit) {
      const int half = dims / 2;
      TurnHalf(x, x + half, cos, sin, y);
      TurnHalf(x + half, x, cos + half, sin + half, y + half);
      return;
    }
    ForEachVec<T>(dims, [&](int64_t, auto load, auto store) {
      const Vec<T> v = load(x);
      const Vec<T> swapped =
          __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
      store(y, v * load(cos) + swapped * load(sin));
    });
  }

 private:
  void TurnHalf(const T* x, const T* partner, const T* c, const T* s, T* y) const {
    ForEachVec<T>(dims / 2, [&](int64_t, auto load, auto store) {
      store(y, load(x) * load(c) + load(partner) * load(s));
    });
  }
};

struct Dims {
  int64_t tokens, groups, heads, head_dim;  // heads of a group: R queries, key, value

  explicit Dims(const Tensor& qkv)
      : tokens(qkv.dim(0)), groups(qkv.dim(1)), heads(qkv.dim(2)), head_dim(qkv.dim(3)) {}
  int64_t token_size() const { return groups * heads * head_dim; }
};

template <class T>
const T* DataOrNull(const Tensor& t) {
  return t.defined() ? t.data<T>() : nullptr;
}

struct NormWeights {
  Tensor q, k;  // undefined: no norm
  double eps;
};

Tensor Forward(const Tensor& x, const NormWeights& norm, const RotaryTable& table,
               const Tensor& positions) {
  Tensor y = Tensor::Empty(x.shape(), x.options(MemoryCategory::kActivations));
  Launch(x.device(), MemoryWork("rotary", x, y, positions), [&] {
    DispatchFloat(x.dtype(), [&]<class T>() {
      const Dims d(x);
      const int rotated = table.options().dims;
      const T *q_weight = DataOrNull<T>(norm.q), *k_weight = DataOrNull<T>(norm.k);
      ParallelRanges(d.tokens, kBlockTokens, [&](int64_t begin, int64_t end) {
        Turn<T> turn(table.options());
        alignas(64) T normed[kMaxDims];
        // One query or key head.
        auto prepare = [&](const T* from, const T* w, T* to) {
          if (w != nullptr) {
            ScaleRow(from, RmsScale(from, d.head_dim, norm.eps), w, normed, d.head_dim);
            from = normed;
          }
          turn.Apply(from, to);
          std::copy(from + rotated, from + d.head_dim, to + rotated);
        };
        for (int64_t t = begin; t < end; ++t) {
          turn.Set(table, positions.data<int32_t>()[t], 1);
          const T* from = x.data<T>() + t * d.token_size();
          T* to = y.data<T>() + t * d.token_size();
          for (int64_t g = 0; g < d.groups; ++g) {
            for (int64_t h = 0; h < d.heads - 1; ++h, from += d.head_dim, to += d.head_dim) {
              prepare(from, h == d.heads - 2 ? k_weight : q_weight, to);
            }
            std::copy(from, from + d.head_dim, to);
            from += d.head_dim;
            to += d.head_dim;
          }
        }
      });
    });
  });
  return y;
}

// How the sums of the norms' weight gradients are cut.
struct SumCut {
  RowBlocks blocks;             // of tokens
  std::vector<int64_t> groups;  // bounds of the pieces

  int64_t pieces() const { return static_cast<int64_t>(groups.size()) - 1; }
};

struct Grads {
  Tensor dx;
  Tensor dq_sums, dk_sums;  // [pieces * blocks, D]: parts of the norms' weight gradients
};

// What backward reads. `x` is read only where there is a norm, and may be undefined otherwise.
struct BackwardInput {
  Tensor x, dy;
  NormWeights norm;
  const RotaryTable& table;
  Tensor positions;
};

// The gradient of a norm of which row 0 of `sums` is meant; nothing where there is no norm.
template <class T>
RmsRowGrad<T> RowGrad(const Dims& d, const Tensor& w, const Tensor& sums, double eps) {
  if (!w.defined()) return {d.head_dim, eps, nullptr, nullptr};
  return {d.head_dim, eps, w.data<T>(), sums.data<T>()};
}

// One block of tokens; its parts of the norms' gradients go to row `block` of each piece.
template <class T>
void BackwardBlock(const BackwardInput& in, const SumCut& cut, const Grads& grads, int64_t block) {
  const Dims d(in.dy);
  const int rotated = in.table.options().dims;
  const T *x_data = DataOrNull<T>(in.x), *dy_data = in.dy.data<T>();
  T* dx_data = grads.dx.data<T>();
  Turn<T> turn(in.table.options());
  alignas(64) T turned[kMaxDims];
  const RmsRowGrad<T> q_first = RowGrad<T>(d, in.norm.q, grads.dq_sums, in.norm.eps);
  const RmsRowGrad<T> k_first = RowGrad<T>(d, in.norm.k, grads.dk_sums, in.norm.eps);
  // The gradient of one query or key head that starts at element `at`.
  auto restore = [&](int64_t at, RmsRowGrad<T> row_grad, int64_t sum_row) {
    const T* from = dy_data + at;
    T* to = dx_data + at;
    T* unturned = row_grad.w == nullptr ? to : turned;
    turn.Apply(from, unturned);
    std::copy(from + rotated, from + d.head_dim, unturned + rotated);
    if (row_grad.w == nullptr) return;
    row_grad.dw += sum_row * d.head_dim;
    row_grad(x_data + at, turned, nullptr, to);
  };
  for (int64_t t = cut.blocks.Begin(block); t < cut.blocks.Begin(block + 1); ++t) {
    turn.Set(in.table, in.positions.data<int32_t>()[t], -1);
    int64_t at = t * d.token_size();
    for (int64_t p = 0; p < cut.pieces(); ++p) {
      const int64_t sum_row = p * cut.blocks.count() + block;
      const int64_t groups =
          cut.groups[static_cast<size_t>(p) + 1] - cut.groups[static_cast<size_t>(p)];
      for (int64_t g = 0; g < groups; ++g) {
        for (int64_t h = 0; h < d.heads - 1; ++h, at += d.head_dim) {
          restore(at, h == d.heads - 2 ? k_first : q_first, sum_row);
        }
        std::copy_n(dy_data + at, d.head_dim, dx_data + at);
        at += d.head_dim;
      }
    }
  }
}

Grads Backward(const BackwardInput& in, const SumCut& cut) {
  const TensorOptions workspace = in.dy.options(MemoryCategory::kWorkspace);
  const Shape sums{cut.pieces() * cut.blocks.count(), in.dy.dim(3)};
  Grads grads{Tensor::Empty(in.dy.shape(), in.dy.options()), {}, {}};
  if (in.norm.q.defined()) grads.dq_sums = Tensor::Zeros(sums, workspace);
  if (in.norm.k.defined()) grads.dk_sums = Tensor::Zeros(sums, workspace);
  Launch(in.dy.device(), MemoryWork("rotary_backward", in.x, in.dy, grads.dx, in.positions), [&] {
    DispatchFloat(in.dy.dtype(), [&]<class T>() {
      ParallelFor(cut.blocks.count(), [&](int64_t b) { BackwardBlock<T>(in, cut, grads, b); });
    });
  });
  return grads;
}

void CheckArguments(const Tensor& qkv, const QkNorm& norm, const RotaryTable& table,
                    const Tensor& positions) {
  CHECK(qkv.shape().rank() == 4) << "[T, G, R + 2, D] is wanted, not " << qkv.shape();
  CHECK(qkv.dim(2) >= 3) << "a query, a key and a value";
  CHECK(table.options().dims <= qkv.dim(3)) << "more rotary dims than a head has";
  CHECK(qkv.dim(3) <= kMaxDims);
  CHECK(positions.NumElements() == qkv.dim(0));
  CHECK(positions.dtype() == DType::kI32);
  for (const Parameter* w : {norm.q, norm.k}) {
    CHECK(w == nullptr || w->shape().NumElements() == qkv.dim(3)) << w->name;
  }
}

// The order of the sums of the norms' gradients, as forward has found it.
struct NormSumOrder {
  QkvOptions options;
  std::shared_ptr<const RowLeaves> rows;  // null: not cut

  SumCut Cut(int64_t tokens, int64_t groups) const {
    std::vector<int64_t> whole = {0, groups};
    const bool pieces = rows != nullptr && options.group_pieces != nullptr;
    return {RowBlocks(tokens, kBlockTokens, rows.get()),
            pieces ? *options.group_pieces : std::move(whole)};
  }
};

void AddWeightGrad(Sink& sink, Parameter* w, const NormSumOrder& order, const SumCut& cut,
                   const Tensor& sums) {
  if (w == nullptr) return;
  std::vector<int64_t> leaves;
  if (order.rows != nullptr) {
    for (int64_t p = 0; p < cut.pieces(); ++p) {
      const int64_t first = (order.options.first_piece + p) * order.options.token_leaves;
      for (int64_t leaf : order.rows->index) leaves.push_back(first + leaf);
    }
  }
  sink.Weight(*w, std::move(leaves),
              [sums, rows = order.rows, blocks = cut.blocks](const Tensor& grad, int64_t i) {
                if (i < 0) return AddColumnSums(grad, sums);
                const auto per_piece = static_cast<int64_t>(rows->index.size());
                const auto leaf = static_cast<size_t>(i % per_piece);
                AddColumnSums(grad, blocks.SumsOf(sums, rows->bounds[leaf], rows->bounds[leaf + 1],
                                                  i / per_piece * blocks.count()));
              });
}

void CheckOptions(const QkvOptions& options, int64_t groups) {
  if (options.group_pieces == nullptr) return;
  const std::vector<int64_t>& bounds = *options.group_pieces;
  CHECK(bounds.size() >= 2 && bounds.front() == 0 && bounds.back() == groups)
      << "pieces of other groups than the " << groups << " here";
  CHECK(options.first_piece >= 0 && options.token_leaves > 0) << "pieces need a place in the tree";
}

}  // namespace

Var PrepareQkv(Tape& tape, const Var& qkv, const QkNorm& norm, const RotaryTable& table,
               const Tensor& positions, const QkvOptions& options) {
  CheckArguments(qkv.tensor(), norm, table, positions);
  if (tape.invariant()) CheckOptions(options, qkv.dim(1));
  const bool normed = norm.q != nullptr || norm.k != nullptr;
  if (norm.q != nullptr) tape.Use(*norm.q);
  if (norm.k != nullptr) tape.Use(*norm.k);
  auto weights = [norm] {
    return NormWeights{norm.q == nullptr ? Tensor() : norm.q->Value(),
                       norm.k == nullptr ? Tensor() : norm.k->Value(), norm.eps};
  };
  Saved xs = qkv.Save();
  Var y = tape.Compute(options.tag, [xs, weights, table, positions] {
    return Forward(xs.Get(), weights(), table, positions);
  });
  tape.Record({&y}, [xs = normed ? xs : Saved(), norm, weights, table, positions, normed,
                     gx = qkv.grad(), order = NormSumOrder{options, tape.rows()}](Sink& sink) {
    if (!normed && gx == nullptr) return;
    const Tensor dy = sink.OutputGrad(0);
    const SumCut cut = order.Cut(dy.dim(0), dy.dim(1));
    Grads grads = Backward({normed ? xs.Get() : Tensor(), dy, weights(), table, positions}, cut);
    sink.Add(gx, std::move(grads.dx));
    AddWeightGrad(sink, norm.q, order, cut, grads.dq_sums);
    AddWeightGrad(sink, norm.k, order, cut, grads.dk_sums);
  });
  return y;
}

}  // namespace choir
