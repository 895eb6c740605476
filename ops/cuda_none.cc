// CUDA kernels in the build without CUDA: never reached, because no tensor can be on the GPU.
#include "base/check.h"
#include "ops/elementwise_cuda.h"
#include "ops/gemm_cuda.h"

#ifndef CHOIR_WITH_CUDA
namespace choir {

void CudaAddScaled(float*, const float*, float, int64_t) { CHECK(false) << "built without CUDA"; }
void CudaGemm(const CudaGemmArgs&) { CHECK(false) << "built without CUDA"; }

}  // namespace choir
#endif
