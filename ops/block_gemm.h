// Products of matrices of E4M3 codes with scales for blocks of the summed dim (kFp8Block of
// ops/round_operand.h), as tensor cores with promotion every 128 make them (DeepSeek-V3, section
// 3.3.2).
//
// For each block of the summed dim, at most 128 long: t = the F32 sum of the products of codes;
// then s = fma(t * scale_a, scale_b, s) with the product t * scale_a rounded to F32, blocks
// ascending from s = +0, all in F32.
//
// Invariant numerics: t is the chain fma(a[i, k], b[k, j], t), k ascending from +0; each piece of k
// has an s of its own, and these are added as a balanced binary tree, as InvariantGemm does. Fast:
// t is summed in the order of OpenBLAS' SGEMM, and s goes over all blocks. Blocks are the same in
// both: none crosses a piece.
//
// Error against the exact product of the operands before they were rounded, where the scale of
// element a is r, that of b is q, and k elements make n blocks of p pieces: with
//   d(a) = max(2^-4 |a|, 2^-10 r) + 2^-23 |a|     (E4M3 keeps 4 significant bits, or multiples of
//                                                 2^-9 below 2^-6; the quotient is rounded too)
// it is at most
//   sum(|a| d(b) + |b| d(a) + d(a) d(b)) + g sum((|a| + d(a)) (|b| + d(b))),
//   g = 2^-24 (128 + n + log2(p) + 4) (1 + 2^-10):
// the roundings of a chain of 128, of two scalings, of n blocks, of the tree and of the last
// addition. Underflow is left out: it takes scales whose product is below 2^-126.
#pragma once

#include <cstdint>

#include "ops/gemm.h"

namespace choir {

// [blocks of k, m] and [blocks of k, n], rows a stride apart.
struct BlockScales {
  const float* a = nullptr;
  int64_t a_stride = 0;
  const float* b = nullptr;
  int64_t b_stride = 0;
};

// c = the product, or c + it (beta 1; one addition); alpha is 1. The blocks of k are those of
// BlockBounds(k, order.pieces, 128). On the calling thread; may be called from several at once.
void BlockGemm(const GemmArgs<float>& args, const BlockScales& scales, const InnerSum& order);
// On all threads of ParallelFor, with the same bits.
void BlockGemmParallel(const GemmArgs<float>& args, const BlockScales& scales,
                       const InnerSum& order);

}  // namespace choir
