#include "ops/matmul.h"

#include "ops/gemm.h"

namespace choir {
namespace {

Tensor AsMatrix(const Tensor& w) {
  const int64_t in = w.dim(-1);
  return w.Reshape({w.NumElements() / in, in});
}

}  // namespace

Var Linear(Tape& tape, const Var& x, Parameter& w, const Tag& tag) {
  CHECK(x.shape().rank() == 2);
  CHECK(x.dim(1) == w.value.dim(-1)) << w.name << " " << w.value.shape();
  tape.Use(w);
  Saved xs = x.Save();
  Var y = tape.Compute(tag, [xs, &w] {
    const Tensor matrix = AsMatrix(w.value);
    Tensor out = Tensor::Empty({xs.Get().dim(0), matrix.dim(0)},
                               xs.Get().options(MemoryCategory::kActivations));
    MatmulInto(out, xs.Get(), Transpose::kNo, matrix, Transpose::kYes, 0.0);
    return out;
  });
  tape.Record({&y}, [xs, gx = x.grad(), &w](Sink& sink) {
    const Tensor dy = sink.OutputGrad(0);
    if (gx != nullptr) {
      const Tensor matrix = AsMatrix(w.value);
      Tensor dx = Tensor::Empty({dy.dim(0), matrix.dim(1)}, dy.options());
      MatmulInto(dx, dy, Transpose::kNo, matrix, Transpose::kNo, 0.0);
      sink.Add(gx, std::move(dx));
    }
    sink.Weight(w, [x = xs.Get(), dy](const Tensor& grad) {
      MatmulInto(AsMatrix(grad), dy, Transpose::kYes, x, Transpose::kNo, 1.0);
    });
  });
  return y;
}

}  // namespace choir
