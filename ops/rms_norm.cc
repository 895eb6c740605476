#include "ops/rms_norm.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "ops/elementwise.h"
#include "ops/launch.h"
#include "ops/parallel_for.h"
#include "ops/rms_norm_blocks.h"
#include "ops/rms_norm_rows.h"
#include "ops/simd.h"

namespace choir {
namespace {

// Rows whose part of w's gradient is summed in the working dtype: also the rows of a task.
constexpr int64_t kBlockRows = 64;

// Runs body(begin, end, block) over blocks of rows.
template <class Body>
void ForEachBlock(const RowBlocks& blocks, Body&& body) {
  ParallelFor(blocks.count(), [&](int64_t b) { body(blocks.Begin(b), blocks.Begin(b + 1), b); });
}
template <class Body>
void ForEachBlock(int64_t rows, Body&& body) {
  ForEachBlock(RowBlocks(rows, kBlockRows, nullptr), body);
}

Tensor NormForward(const Tensor& x, const Tensor& w, double eps) {
  Tensor y = Tensor::Empty(x.shape(), x.options(MemoryCategory::kActivations));
  Launch(x.device(), MemoryWork("rms_norm", x, w, y), [&] {
    DispatchFloat(x.dtype(), [&]<class T>() {
      const int64_t n = x.dim(1);
      const T *x_data = x.data<T>(), *weight = w.data<T>();
      T* y_data = y.data<T>();
      ForEachBlock(x.dim(0), [&](int64_t begin, int64_t end, int64_t) {
        for (int64_t t = begin; t < end; ++t) {
          const T* row = x_data + t * n;
          ScaleRow(row, RmsScale(row, n, eps), weight, y_data + t * n, n);
        }
      });
    });
  });
  return y;
}

std::pair<Tensor, Tensor> AddNormForward(const Tensor& x, const Tensor& delta, const Tensor& w,
                                         double eps) {
  const TensorOptions options = x.options(MemoryCategory::kActivations);
  Tensor sum = Tensor::Empty(x.shape(), options), normed = Tensor::Empty(x.shape(), options);
  Launch(x.device(), MemoryWork("add_rms_norm", x, delta, w, sum, normed), [&] {
    DispatchFloat(x.dtype(), [&]<class T>() {
      const int64_t n = x.dim(1);
      const T *x_data = x.data<T>(), *delta_data = delta.data<T>(), *weight = w.data<T>();
      T *sum_data = sum.data<T>(), *normed_data = normed.data<T>();
      ForEachBlock(x.dim(0), [&](int64_t begin, int64_t end, int64_t) {
        for (int64_t t = begin; t < end; ++t) {
          const T *a = x_data + t * n, *b = delta_data + t * n;
          T* row = sum_data + t * n;
          ForEachVec<T>(n, [&](int64_t, auto load, auto store) { store(row, load(a) + load(b)); });
          ScaleRow(row, RmsScale(row, n, eps), weight, normed_data + t * n, n);
        }
      });
    });
  });
  return {std::move(sum), std::move(normed)};
}

struct NormGrads {
  Tensor dx;
  Tensor dw_blocks;  // [blocks, C]
};

// The norm as backward sees it.
struct NormUse {
  Parameter& w;
  double eps;
  std::shared_ptr<const RowLeaves> rows;
};

// `add` (may be undefined) is a gradient of x from elsewhere, added to dx.
NormGrads NormBackward(const Tensor& x, const NormUse& norm, const RowBlocks& blocks,
                       const Tensor& dy, const Tensor& add) {
  const int64_t n = x.dim(1);
  const Tensor weight = norm.w.Value();
  NormGrads grads{Tensor::Empty(x.shape(), dy.options()),
                  Tensor::Empty({blocks.count(), n}, x.options(MemoryCategory::kWorkspace))};
  Launch(x.device(), MemoryWork("rms_norm_backward", x, weight, dy, add, grads.dx), [&] {
    DispatchFloat(x.dtype(), [&]<class T>() {
      const T *x_data = x.data<T>(), *dy_data = dy.data<T>(), *w = weight.data<T>();
      const T* add_data = add.defined() ? add.data<T>() : nullptr;
      T* dx_data = grads.dx.data<T>();
      ForEachBlock(blocks, [&](int64_t begin, int64_t end, int64_t block) {
        const RmsRowGrad<T> row_grad{n, norm.eps, w, grads.dw_blocks.data<T>() + block * n};
        std::fill_n(row_grad.dw, n, T(0));
        for (int64_t t = begin; t < end; ++t) {
          row_grad(x_data + t * n, dy_data + t * n,
                   add_data == nullptr ? nullptr : add_data + t * n, dx_data + t * n);
        }
      });
    });
  });
  return grads;
}

// The gradient of x, plus `add` if it is defined; hands that of w to the sink.
Tensor Backward(Sink& sink, const NormUse& norm, const Tensor& x, const Tensor& dy,
                const Tensor& add) {
  RowBlocks blocks(x.dim(0), kBlockRows, norm.rows.get());
  NormGrads grads = NormBackward(x, norm, blocks, dy, add);
  sink.Weight(norm.w, norm.rows, x.dim(0),
              [sums = std::move(grads.dw_blocks), blocks = std::move(blocks)](
                  const Tensor& grad, int64_t begin, int64_t end) {
                AddColumnSums(grad, blocks.SumsOf(sums, begin, end));
              });
  return std::move(grads.dx);
}

void CheckShapes(const Var& x, const Parameter& w) {
  CHECK(x.shape().rank() == 2) << w.name;
  CHECK(w.shape().NumElements() == x.dim(1)) << w.name << " " << w.shape();
}

}  // namespace

void AddColumnSums(const Tensor& to, const Tensor& rows) {
  CHECK(to.NumElements() == rows.dim(1));
  Launch(to.device(), MemoryWork("add_column_sums", to, to, rows), [&] {
    DispatchFloat(to.dtype(), [&]<class T>() {
      const int64_t count = rows.dim(0), n = rows.dim(1);
      T* sums = to.data<T>();
      const T* from = rows.data<T>();
      constexpr int64_t kColumns = 64;
      ParallelRanges(n, kColumns, [&](int64_t begin, int64_t end) {
        double sum[kColumns] = {};
        for (int64_t i = 0; i < count; ++i) {
          const T* row = from + i * n;
          for (int64_t c = begin; c < end; ++c) sum[c - begin] += static_cast<double>(row[c]);
        }
        for (int64_t c = begin; c < end; ++c) sums[c] += static_cast<T>(sum[c - begin]);
      });
    });
  });
}

Var RmsNorm(Tape& tape, const Var& x, Parameter& w, double eps, const Tag& tag) {
  CheckShapes(x, w);
  tape.Use(w);
  Saved xs = x.Save();
  Var y = tape.Compute(tag, [xs, &w, eps] { return NormForward(xs.Get(), w.Value(), eps); });
  tape.Record({&y}, [xs, gx = x.grad(), norm = NormUse{w, eps, tape.rows()}](Sink& sink) {
    sink.Add(gx, Backward(sink, norm, xs.Get(), sink.OutputGrad(0), Tensor()));
  });
  return y;
}

AddNormResult AddRmsNorm(Tape& tape, const Var& x, const Var& delta, Parameter& w,
                         const AddNormOptions& options) {
  CheckShapes(x, w);
  const bool adds = delta.defined();
  CHECK(!adds || x.shape() == delta.shape());
  tape.Use(w);
  const double eps = options.eps;
  const Saved xs = x.Save(), ds = adds ? delta.Save() : Saved();
  // Both are made in one pass, but are two results, so that a dropped `normed` comes back from
  // `sum` without asking for `delta`. The first run of the first closure leaves `normed` here.
  auto made = std::make_shared<Tensor>();
  AddNormResult result;
  result.sum = tape.Compute(
      options.sum_tag, [xs, ds, made, &w, eps, fused = adds && !tape.recorded(), adds]() mutable {
        if (!adds) return xs.Get();
        if (!std::exchange(fused, false)) return Sum(xs.Get(), ds.Get());
        auto [sum, normed] = AddNormForward(xs.Get(), ds.Get(), w.Value(), eps);
        *made = std::move(normed);
        return std::move(sum);
      });
  Saved ss = result.sum.Save();
  result.normed = tape.Compute(options.tag, [ss, made, &w, eps] {
    const Tensor& sum = ss.Get();
    return made->defined() ? std::exchange(*made, {}) : NormForward(sum, w.Value(), eps);
  });
  tape.Record({&result.sum, &result.normed},
              [ss, gx = x.grad(), gd = adds ? delta.grad() : GradRef(),
               norm = NormUse{w, eps, tape.rows()}](Sink& sink) {
                Tensor dx = sink.OutputGrad(0);
                if (const Tensor dnormed = sink.OutputGrad(1); dnormed.defined()) {
                  dx = Backward(sink, norm, ss.Get(), dnormed, dx);
                } else {
                  sink.Weight(norm.w, norm.rows, dx.dim(0), [](const Tensor&, int64_t, int64_t) {});
                }
                sink.Add(gx, dx);
                sink.Add(gd, std::move(dx));
              });
  return result;
}

}  // namespace choir
