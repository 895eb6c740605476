#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp4.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include "tensor/cuda_check.h"
#include "tests/cuda/hardware_casts.h"

namespace choir {
namespace {

__device__ uint16_t Cast(CudaCast cast, float x) {
  switch (cast) {
    case CudaCast::kBF16:
      return __bfloat16_as_ushort(__float2bfloat16_rn(x));
    case CudaCast::kF16:
      return __half_as_ushort(__float2half_rn(x));
    case CudaCast::kE4M3:
      return __nv_cvt_float_to_fp8(x, __NV_NOSAT, __NV_E4M3);
    case CudaCast::kE5M2:
      return __nv_cvt_float_to_fp8(x, __NV_NOSAT, __NV_E5M2);
    case CudaCast::kE4M3Saturating:
      return __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3);
    case CudaCast::kE5M2Saturating:
      return __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E5M2);
    case CudaCast::kE2M1:
      return __nv_cvt_float_to_fp4(x, __NV_E2M1, cudaRoundNearest) & 0xf;
  }
  return 0;
}

__global__ void CastKernel(CudaCast cast, const float* from, uint16_t* to, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) to[i] = Cast(cast, from[i]);
}

}  // namespace

void CastOnGpu(CudaCast cast, const float* from, uint16_t* to, int64_t n) {
  float* in = nullptr;
  uint16_t* out = nullptr;
  const size_t count = static_cast<size_t>(n);
  CudaCheck(cudaMalloc(reinterpret_cast<void**>(&in), count * sizeof(float)), "cudaMalloc");
  CudaCheck(cudaMalloc(reinterpret_cast<void**>(&out), count * sizeof(uint16_t)), "cudaMalloc");
  CudaCheck(cudaMemcpy(in, from, count * sizeof(float), cudaMemcpyHostToDevice), "cudaMemcpy");
  CastKernel<<<static_cast<unsigned>((n + 255) / 256), 256>>>(cast, in, out, n);
  CudaCheck(cudaGetLastError(), "cudaGetLastError");
  CudaCheck(cudaMemcpy(to, out, count * sizeof(uint16_t), cudaMemcpyDeviceToHost), "cudaMemcpy");
  CudaCheck(cudaFree(in), "cudaFree");
  CudaCheck(cudaFree(out), "cudaFree");
}

}  // namespace choir
