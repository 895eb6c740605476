// Row-major matrix products over raw CPU memory, on OpenBLAS. The calls run on one thread each;
// GemmParallel cuts the result into tiles that depend on the shape only, so a result does not
// depend on the number of threads.
#pragma once

#include <cstdint>
#include <string>

#include "ops/matmul_format.h"
#include "ops/numerics.h"
#include "tensor/tensor.h"

namespace choir {

enum class Transpose : bool { kNo, kYes };

// c[m, n] = alpha * op(a) op(b) + beta * c, with op(a) of [m, k] and op(b) of [k, n]. `lda`, `ldb`
// and `ldc` are the distances between rows as stored.
template <class T>
struct GemmArgs {
  Transpose transpose_a = Transpose::kNo, transpose_b = Transpose::kNo;
  int64_t m = 0, n = 0, k = 0;
  T alpha = 1;
  const T* a = nullptr;
  int64_t lda = 0;
  const T* b = nullptr;
  int64_t ldb = 0;
  T beta = 0;
  T* c = nullptr;
  int64_t ldc = 0;
};

// The library behind, its version and the kind of processor it chose: "OpenBLAS 0.3.21 ... Zen".
std::string GemmLibrary();

// On the calling thread; may be called from several threads at once.
void Gemm(const GemmArgs<float>& args);
void Gemm(const GemmArgs<double>& args);
// On all threads of ParallelFor.
void GemmParallel(const GemmArgs<float>& args);
void GemmParallel(const GemmArgs<double>& args);

// The order of the sum over the inner dim of a product, k.
struct InnerSum {
  Numerics numerics = Numerics::kFast;
  SumPieces pieces;  // of k; read in invariant mode only
};

// By `order`: Gemm and GemmParallel, or InvariantGemm and InvariantGemmParallel
// (ops/invariant_gemm.h), which take alpha = 1 and beta = 0 or 1.
template <class T>
void Gemm(const GemmArgs<T>& args, const InnerSum& order);
template <class T>
void GemmParallel(const GemmArgs<T>& args, const InnerSum& order);

// c = op(a) op(b) + beta * c of dense 2-D tensors on any device; c's shape decides m and n.
// Invariant: beta is 0 or 1, CPU only. `operands` says what a and b were rounded to, for the report
// of the product (ops/work.h).
void MatmulInto(const Tensor& c, const Tensor& a, Transpose transpose_a, const Tensor& b,
                Transpose transpose_b, double beta, const InnerSum& order = {},
                MatmulFormat operands = MatmulFormat::kFull);

}  // namespace choir
