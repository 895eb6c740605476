// Rounds the operands of matrix products as a MatmulFormat says. On the CPU the formats are
// emulated: a rounded operand is an array of floats that hold values of the format.
//
// kBF16, kF16     every element to nearest even.
// kFp8Block       E4M3 with one F32 scale for each block (DeepSeek-V3, section 3.3): strips of 128
//                 elements along the summed dim, or 128 x 128. scale = amax / 448, where amax is
//                 the largest magnitude of the block; at least 2^-126; 1 where amax is 0.
//                 The code is E4M3 of element / scale, to nearest even; it never saturates.
// kMxfp8          E4M3 with one power of two for each strip of 32 along the summed dim (OCP MX 1.0,
//                 section 6.3): scale = 2^(floor(log2(amax)) - 8), at least 2^-127; 1 where amax
//                 is 0. The quotient is below 512: what rounds to more than 448 saturates there, an
//                 error of up to an eighth of the element. The scale is multiplied into the value
//                 again, which is exact: a power of two commutes with every rounding of a product.
// An infinity or NaN in a block makes all of it NaN, by its scale: nothing bad is rounded away.
//
// A block never crosses a bound of the pieces that ranks may split a dim by (ops/numerics.h):
// blocks are counted from the first element of each piece, and the last block of a piece may be
// short. So no layout whose ranks hold whole pieces changes a code.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/matmul_format.h"
#include "ops/numerics.h"

namespace choir {

inline constexpr int64_t kFp8Block = 128, kMxBlock = 32;

// A piece ends where the next one begins; an empty span is one piece.
using PieceBounds = std::span<const int64_t>;
inline PieceBounds BoundsOf(const SumPieces& pieces) {
  return pieces == nullptr ? PieceBounds() : PieceBounds(*pieces);
}

// The bounds of the blocks of `n` elements, `block` long each but for the last of each piece.
std::vector<int64_t> BlockBounds(int64_t n, PieceBounds pieces, int64_t block);

enum class OperandRole { kActivation, kGradient, kWeight };

// What is done to one operand, a matrix with the summed dim along its rows or its columns.
struct OperandRounding {
  MatmulFormat format = MatmulFormat::kFull;
  bool square = false;       // kFp8Block: 128 x 128 blocks, not strips
  bool sum_in_rows = false;  // the sum goes over rows, as stored

  // Whether scales are kept beside the codes; else they are multiplied in.
  bool HasScales() const { return format == MatmulFormat::kFp8Block; }
};
OperandRounding RoundingOf(const MatmulPrecision& precision, OperandRole role, bool sum_in_rows);

// A dense matrix to round, and where to.
struct RoundArgs {
  OperandRounding how;
  const float* from = nullptr;
  int64_t rows = 0, columns = 0;
  PieceBounds sum_pieces;    // of the summed dim
  PieceBounds other_pieces;  // of the other one; read for square blocks only
  // [rows, columns]: kFp8Block codes / scale; the others values. Not `from`.
  float* to = nullptr;
  // kFp8Block: [blocks of the summed dim, the other dim], scale_stride apart; the scale of a square
  // stands once for each of its rows or columns.
  float* scales = nullptr;
  int64_t scale_stride = 0;
};

// On all threads; the bits do not depend on their number. Not for kFull.
void RoundOperand(const RoundArgs& args);

}  // namespace choir
