#include "ops/low_product.h"

#include "base/check.h"
#include "base/fault.h"
#include "ops/block_gemm.h"
#include "ops/launch.h"

namespace choir {
namespace {

// Whether a rank holds these pieces that shares the dim with others.
bool IsPart(PieceBounds pieces) {
  return !pieces.empty() && static_cast<int>(pieces.size()) - 1 < kVirtualPieces;
}

const float* Data(const Tensor& t) { return t.defined() ? t.data<float>() : nullptr; }

void BlockProduct(const Tensor& c, const ProductOperand& a, const ProductOperand& b, double beta,
                  const InnerSum& order, const RoundedMatrix& ra, const RoundedMatrix& rb) {
  const int64_t k = ra.values.dim(a.transpose == Transpose::kYes ? 0 : 1);
  Work work = ProductWork("gemm", c.dim(0), c.dim(1), k);
  work.bytes = BytesOf(ra.values, ra.scales, rb.values, rb.scales, c, beta != 0 ? c : Tensor());
  work.operands = MatmulFormat::kFp8Block;
  Launch(c.device(), work, [&] {
    const GemmArgs<float> args{a.transpose,
                               b.transpose,
                               c.dim(0),
                               c.dim(1),
                               k,
                               1.0f,
                               ra.values.data<float>(),
                               ra.values.dim(1),
                               rb.values.data<float>(),
                               rb.values.dim(1),
                               static_cast<float>(beta),
                               c.data<float>(),
                               c.dim(1)};
    BlockGemmParallel(args, {Data(ra.scales), c.dim(0), Data(rb.scales), c.dim(1)}, order);
  });
}

}  // namespace

RoundedMatrix RoundMatrix(const ProductOperand& operand, const OperandRounding& how,
                          const SumPieces& sum_pieces) {
  const Tensor& m = operand.matrix;
  CHECK(m.shape().rank() == 2 && m.dtype() == DType::kF32)
      << "products with rounded operands are for F32, not " << m.dtype();
  PieceBounds sum = BoundsOf(sum_pieces), others = BoundsOf(operand.other_pieces);
  const bool mx = how.format == MatmulFormat::kMxfp8;
  if (mx && IsPart(sum) && Injected(Fault::kBlocksFromOwnElement)) sum = {};
  if (how.square && IsPart(others) && Injected(Fault::kSquaresFromOwnRow)) others = {};
  RoundedMatrix rounded;
  const TensorOptions options{DType::kF32, m.device(), MemoryCategory::kWorkspace};
  rounded.values = Tensor::Empty(m.shape(), options);
  const int64_t summed = m.dim(how.sum_in_rows ? 0 : 1), other = m.dim(how.sum_in_rows ? 1 : 0);
  if (how.HasScales()) {
    const auto blocks = BlockBounds(summed, sum, kFp8Block).size() - 1;
    rounded.scales = Tensor::Empty({static_cast<int64_t>(blocks), other}, options);
  }
  Launch(m.device(), MemoryWork("round_operand", m, rounded.values, rounded.scales), [&] {
    if (m.NumElements() == 0) return;
    RoundOperand({.how = how,
                  .from = m.data<float>(),
                  .rows = m.dim(0),
                  .columns = m.dim(1),
                  .sum_pieces = sum,
                  .other_pieces = others,
                  .to = rounded.values.data<float>(),
                  .scales = how.HasScales() ? rounded.scales.data<float>() : nullptr,
                  .scale_stride = other});
  });
  return rounded;
}

void ProductInto(const Tensor& c, const ProductOperand& a, const ProductOperand& b, double beta,
                 const MatmulPrecision& precision, const InnerSum& order) {
  if (precision.format == MatmulFormat::kFull) {
    return MatmulInto(c, a.matrix, a.transpose, b.matrix, b.transpose, beta, order);
  }
  const OperandRounding of_a = RoundingOf(precision, a.role, a.transpose == Transpose::kYes);
  const OperandRounding of_b = RoundingOf(precision, b.role, b.transpose == Transpose::kNo);
  const RoundedMatrix ra = RoundMatrix(a, of_a, order.pieces);
  const RoundedMatrix rb = RoundMatrix(b, of_b, order.pieces);
  if (of_a.HasScales()) return BlockProduct(c, a, b, beta, order, ra, rb);
  MatmulInto(c, ra.values, a.transpose, rb.values, b.transpose, beta, order, precision.format);
}

}  // namespace choir
