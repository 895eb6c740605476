#include "ops/gemm_cuda.h"
#include "tensor/cuda_check.h"
#include "tensor/cuda_device.h"

namespace choir {
namespace {

cublasOperation_t Operation(bool transpose) { return transpose ? CUBLAS_OP_T : CUBLAS_OP_N; }

// c = beta * c, in place; writes zeros without reading c if beta is zero.
void ScaleResult(cublasHandle_t handle, const CudaGemmArgs& g) {
  const float zero = 0;
  CudaCheck(cublasSgeam_64(handle, CUBLAS_OP_N, CUBLAS_OP_N, g.n, g.m, &g.beta, g.c, g.ldc, &zero,
                           g.c, g.ldc, g.c, g.ldc),
            "cublasSgeam");
}

}  // namespace

void CudaGemm(const CudaGemmArgs& g) {
  if (g.m == 0 || g.n == 0) return;
  const auto handle = static_cast<cublasHandle_t>(CudaBlasHandle());
  // A product over nothing has operands without memory, which cuBLAS may refuse.
  if (g.k == 0) return ScaleResult(handle, g);
  // cuBLAS is column-major, and reads a row-major matrix as its transpose:
  // c^T = op(b)^T op(a)^T has the operands in the other order and the same flags.
  CudaCheck(cublasSgemm_64(handle, Operation(g.transpose_b), Operation(g.transpose_a), g.n, g.m,
                           g.k, &g.alpha, g.b, g.ldb, g.a, g.lda, &g.beta, g.c, g.ldc),
            "cublasSgemm");
}

}  // namespace choir
