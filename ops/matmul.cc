#include "ops/matmul.h"

#include "ops/low_product.h"

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

// The three products of a weight [O, I].
struct Products {
  MatmulPrecision precision;
  int in_dims;
  Numerics numerics;
  LinearOptions options;
  std::shared_ptr<const RowLeaves> rows;

  Tensor Forward(const Tensor& x, const Tensor& w) const {
    Tensor y = Tensor::Empty({x.dim(0), w.dim(0)}, x.options(MemoryCategory::kActivations));
    ProductInto(y, {x}, {w, Transpose::kYes, OperandRole::kWeight, options.out_pieces}, 0.0,
                precision, {numerics, options.in_pieces});
    return y;
  }

  Tensor Input(const Tensor& dy, const Tensor& w) const {
    Tensor dx = Tensor::Empty({dy.dim(0), w.dim(1)}, dy.options());
    // Blocks of several rows end where leaves do.
    SumPieces leaves;
    if (rows != nullptr) leaves = SumPieces(rows, &rows->bounds);
    ProductInto(dx, {dy, Transpose::kNo, OperandRole::kGradient, leaves},
                {w, Transpose::kNo, OperandRole::kWeight, options.in_pieces}, 0.0, precision,
                {numerics, options.out_pieces});
    return dx;
  }

  // Of one leaf's rows, or all.
  void AddWeight(const Tensor& grad, const Tensor& x, const Tensor& dy) const {
    ProductInto(grad, {dy, Transpose::kYes, OperandRole::kGradient, options.out_pieces}, {x}, 1.0,
                precision, {numerics, nullptr});
  }
};

}  // namespace

Var Linear(Tape& tape, const Var& x, Parameter& w, const LinearOptions& options) {
  CHECK(x.shape().rank() == 2);
  const int in_dims = options.in_dims;
  CHECK(in_dims > 0 && in_dims < w.shape().rank()) << w.name << " " << w.shape();
  CHECK(x.dim(1) == MatrixShape(w.shape(), in_dims).in) << w.name << " " << w.shape();
  tape.Use(w);
  Saved xs = x.Save();
  const Products products{w.matmul, in_dims, tape.numerics(), options, tape.rows()};
  Var y = tape.Compute(options.tag, [xs, &w, products] {
    // First: to make x again may need other layers' weights, and this one's need not be there.
    const Tensor& x = xs.Get();
    return products.Forward(x, AsMatrix(w.Value(), products.in_dims));
  });
  tape.Record({&y}, [xs, gx = x.grad(), &w, products](Sink& sink) {
    const Tensor dy = sink.OutputGrad(0);
    if (gx != nullptr) {
      sink.Add(gx, products.Input(dy, AsMatrix(w.Value(), products.in_dims)));
    }
    sink.Weight(w, products.rows, dy.dim(0),
                [x = xs.Get(), dy, products](const Tensor& grad, int64_t begin, int64_t end) {
                  products.AddWeight(AsMatrix(grad, products.in_dims), x.Rows(begin, end - begin),
                                     dy.Rows(begin, end - begin));
                });
  });
  return y;
}

Var Linear(Tape& tape, const Var& x, Parameter& w, const Tag& tag) {
  return Linear(tape, x, w, LinearOptions{.tag = tag});
}

}  // namespace choir
