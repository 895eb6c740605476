// MatmulInto whose operands are rounded first, as a weight's MatmulPrecision says.
#pragma once

#include "ops/gemm.h"
#include "ops/round_operand.h"
#include "tensor/tensor.h"

namespace choir {

// One side of a product, a dense 2-D tensor.
struct ProductOperand {
  Tensor matrix;
  Transpose transpose = Transpose::kNo;
  OperandRole role = OperandRole::kActivation;
  // Pieces of the dim that is not summed; blocks end there. Null: one piece.
  SumPieces other_pieces;
};

// c = op(a) op(b) + beta c, sums in F32. `order.pieces` are pieces of the summed dim: blocks end
// there in both modes, the order of the sum follows them in invariant mode (MatmulInto, or
// ops/block_gemm.h for kFp8Block, where beta is 0 or 1).
//
// Error against the exact product of the operands as given: that of ops/block_gemm.h, where but for
// kFp8Block g = 2^-24 (k + 4) (1 + 2^-10), and
//   kBF16    d(a) = max(2^-8 |a|, 2^-134)
//   kF16     d(a) = max(2^-11 |a|, 2^-25), infinite past 65504
//   kMxfp8   d(a) = max(2^-4 |a|, 2^-10 scale), |a| / 8 where |a| > 448 scale.
//
// kFull is MatmulInto itself, on any device and in any dtype; the other formats are for F32 on the
// CPU (CHECKed) and take workspace for copies of both operands.
void ProductInto(const Tensor& c, const ProductOperand& a, const ProductOperand& b, double beta,
                 const MatmulPrecision& precision, const InnerSum& order);

// A rounded copy of a matrix.
struct RoundedMatrix {
  Tensor values;  // of its shape; kFp8Block: without scales
  Tensor scales;  // kFp8Block: [blocks of the summed dim, other dim]; else undefined
};
// `sum_pieces` and `operand.other_pieces` as above. Not for kFull.
RoundedMatrix RoundMatrix(const ProductOperand& operand, const OperandRounding& how,
                          const SumPieces& sum_pieces);

}  // namespace choir
