// Row-major matrix products whose every element is one sum in one order (`numerics: invariant`).
//
// An element is the chain s = fma(a[i, k], b[k, j], s) for k ascending from s = +0; with pieces,
// one such chain for each piece of k, and the chains are added as a balanced binary tree: tree(lo,
// hi) = tree(lo, mid) + tree(mid, hi). So its bits depend on row i of a and column j of b alone:
// not on m and n, the position in the result, the neighbours, the number of threads or the
// instruction set; and a rank that holds a subtree of the pieces computes exactly that subtree.
#pragma once

#include <cstdint>
#include <span>

#include "ops/gemm.h"

namespace choir {

// As Gemm, for alpha = 1 and beta = 0 (c = sum) or 1 (c = c + sum, one addition). `pieces` holds
// the bounds of a power of two of pieces, from 0 to k, some perhaps empty (their sum is +0 and is
// added like any other); an empty span means one piece. On the calling thread; may be called from
// several threads at once.
void InvariantGemm(const GemmArgs<float>& args, std::span<const int64_t> pieces = {});
void InvariantGemm(const GemmArgs<double>& args, std::span<const int64_t> pieces = {});
// On all threads of ParallelFor.
void InvariantGemmParallel(const GemmArgs<float>& args, std::span<const int64_t> pieces = {});
void InvariantGemmParallel(const GemmArgs<double>& args, std::span<const int64_t> pieces = {});

}  // namespace choir
