// The CUDA side of ops/gemm.h: cuBLAS on the compute stream.
#pragma once

#include <cstdint>

namespace choir {

// As GemmArgs<float>, row-major device memory.
struct CudaGemmArgs {
  bool transpose_a, transpose_b;
  int64_t m, n, k;
  float alpha;
  const float* a;
  int64_t lda;
  const float* b;
  int64_t ldb;
  float beta;
  float* c;
  int64_t ldc;
};

// Asynchronous.
void CudaGemm(const CudaGemmArgs& args);

}  // namespace choir
