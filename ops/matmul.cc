#include "ops/matmul.h"

#include "ops/gemm.h"

namespace choir {
namespace {

struct MatrixShape {
  int64_t out = 1, in = 1;
  MatrixShape(const Shape& w, int in_dims) {
    const int out_dims = w.rank() - in_dims;
    for (int i = 0; i < w.rank(); ++i) (i < out_dims ? out : in) *= w.dim(i);
  }
};

Tensor AsMatrix(const Tensor& w, int in_dims) {
  const MatrixShape shape(w.shape(), in_dims);
  return w.Reshape({shape.out, shape.in});
}

}  // namespace

Var Linear(Tape& tape, const Var& x, Parameter& w, const LinearOptions& options) {
  CHECK(x.shape().rank() == 2);
  const int in_dims = options.in_dims;
  CHECK(in_dims > 0 && in_dims < w.shape().rank()) << w.name << " " << w.shape();
  CHECK(x.dim(1) == MatrixShape(w.shape(), in_dims).in) << w.name << " " << w.shape();
  tape.Use(w);
  Saved xs = x.Save();
  const InnerSum over_in{tape.numerics(), options.in_pieces};
  const InnerSum over_out{tape.numerics(), options.out_pieces};
  Var y = tape.Compute(options.tag, [xs, &w, in_dims, over_in] {
    // First: to make x again may need other layers' weights, and this one's need not be there.
    const Tensor& x = xs.Get();
    const Tensor matrix = AsMatrix(w.Value(), in_dims);
    Tensor out = Tensor::Empty({x.dim(0), matrix.dim(0)}, x.options(MemoryCategory::kActivations));
    MatmulInto(out, x, Transpose::kNo, matrix, Transpose::kYes, 0.0, over_in);
    return out;
  });
  tape.Record({&y}, [xs, gx = x.grad(), &w, in_dims, over_out, rows = tape.rows()](Sink& sink) {
    const Tensor dy = sink.OutputGrad(0);
    if (gx != nullptr) {
      const Tensor matrix = AsMatrix(w.Value(), in_dims);
      Tensor dx = Tensor::Empty({dy.dim(0), matrix.dim(1)}, dy.options());
      MatmulInto(dx, dy, Transpose::kNo, matrix, Transpose::kNo, 0.0, over_out);
      sink.Add(gx, std::move(dx));
    }
    const InnerSum over_rows{over_out.numerics, nullptr};
    sink.Weight(
        w, rows, dy.dim(0),
        [x = xs.Get(), dy, in_dims, over_rows](const Tensor& grad, int64_t begin, int64_t end) {
          MatmulInto(AsMatrix(grad, in_dims), dy.Rows(begin, end - begin), Transpose::kYes,
                     x.Rows(begin, end - begin), Transpose::kNo, 1.0, over_rows);
        });
  });
  return y;
}

Var Linear(Tape& tape, const Var& x, Parameter& w, const Tag& tag) {
  return Linear(tape, x, w, LinearOptions{.tag = tag});
}

}  // namespace choir
