#include "ops/rotary.h"

#include <algorithm>
#include <array>

#include "ops/launch.h"
#include "ops/parallel_for.h"
#include "ops/rms_norm.h"
#include "ops/rms_norm_rows.h"
#include "ops/simd.h"

namespace choir {
namespace {

// Bounds the rows on the stack.
constexpr int kMaxDims = 1024;
// Tokens of a task, and of a partial sum of the norms' gradients.
constexpr int64_t kBlockTokens = 32;

int64_t Blocks(int64_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

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
  Launch(x.device(), "qkv.rotary", [&] {
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

struct Grads {
  Tensor dx;
  Tensor dq_blocks, dk_blocks;  // [Blocks(T), D]: parts of the norms' weight gradients
};

// `x` is read only where there is a norm, and may be undefined otherwise.
Grads Backward(const Tensor& x, const NormWeights& norm, const RotaryTable& table,
               const Tensor& positions, const Tensor& dy) {
  const Dims d(dy);
  const TensorOptions workspace = dy.options(MemoryCategory::kWorkspace);
  const Shape blocks{Blocks(d.tokens), d.head_dim};
  Grads grads{Tensor::Empty(dy.shape(), dy.options()), {}, {}};
  if (norm.q.defined()) grads.dq_blocks = Tensor::Zeros(blocks, workspace);
  if (norm.k.defined()) grads.dk_blocks = Tensor::Zeros(blocks, workspace);
  Launch(dy.device(), "qkv.rotary backward", [&] {
    DispatchFloat(dy.dtype(), [&]<class T>() {
      const int rotated = table.options().dims;
      const T *x_data = DataOrNull<T>(x), *dy_data = dy.data<T>();
      T* dx_data = grads.dx.data<T>();
      ParallelRanges(d.tokens, kBlockTokens, [&](int64_t begin, int64_t end) {
        Turn<T> turn(table.options());
        alignas(64) T turned[kMaxDims];
        const int64_t dw = begin / kBlockTokens * d.head_dim;
        const RmsRowGrad<T> no_norm{d.head_dim, norm.eps, nullptr, nullptr};
        RmsRowGrad<T> q_grad = no_norm, k_grad = no_norm;
        if (norm.q.defined()) {
          q_grad.w = norm.q.data<T>();
          q_grad.dw = grads.dq_blocks.data<T>() + dw;
        }
        if (norm.k.defined()) {
          k_grad.w = norm.k.data<T>();
          k_grad.dw = grads.dk_blocks.data<T>() + dw;
        }
        // The gradient of one query or key head that starts at element `at`.
        auto restore = [&](int64_t at, const RmsRowGrad<T>& row_grad) {
          const T* from = dy_data + at;
          T* to = dx_data + at;
          T* unturned = row_grad.w == nullptr ? to : turned;
          turn.Apply(from, unturned);
          std::copy(from + rotated, from + d.head_dim, unturned + rotated);
          if (row_grad.w != nullptr) row_grad(x_data + at, turned, nullptr, to);
        };
        for (int64_t t = begin; t < end; ++t) {
          turn.Set(table, positions.data<int32_t>()[t], -1);
          int64_t at = t * d.token_size();
          for (int64_t g = 0; g < d.groups; ++g) {
            for (int64_t h = 0; h < d.heads - 1; ++h, at += d.head_dim) {
              restore(at, h == d.heads - 2 ? k_grad : q_grad);
            }
            std::copy_n(dy_data + at, d.head_dim, dx_data + at);
            at += d.head_dim;
          }
        }
      });
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
    CHECK(w == nullptr || w->value.NumElements() == qkv.dim(3)) << w->name;
  }
}

void AddWeightGrad(Sink& sink, Parameter* w, const Tensor& blocks) {
  if (w == nullptr) return;
  sink.Weight(*w, [blocks](const Tensor& grad) { AddColumnSums(grad, blocks); });
}

}  // namespace

Var PrepareQkv(Tape& tape, const Var& qkv, const QkNorm& norm, const RotaryTable& table,
               const Tensor& positions, const Tag& tag) {
  CheckArguments(qkv.tensor(), norm, table, positions);
  const bool normed = norm.q != nullptr || norm.k != nullptr;
  if (norm.q != nullptr) tape.Use(*norm.q);
  if (norm.k != nullptr) tape.Use(*norm.k);
  auto weights = [norm] {
    return NormWeights{norm.q == nullptr ? Tensor() : norm.q->value,
                       norm.k == nullptr ? Tensor() : norm.k->value, norm.eps};
  };
  Saved xs = qkv.Save();
  Var y = tape.Compute(tag, [xs, weights, table, positions] {
    return Forward(xs.Get(), weights(), table, positions);
  });
  tape.Record({&y}, [xs = normed ? xs : Saved(), norm, weights, table, positions, normed,
                     gx = qkv.grad()](Sink& sink) {
    if (!normed && gx == nullptr) return;
    Grads grads =
        Backward(normed ? xs.Get() : Tensor(), weights(), table, positions, sink.OutputGrad(0));
    sink.Add(gx, std::move(grads.dx));
    AddWeightGrad(sink, norm.q, grads.dq_blocks);
    AddWeightGrad(sink, norm.k, grads.dk_blocks);
  });
  return y;
}

}  // namespace choir
