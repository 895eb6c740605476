#include <algorithm>

#include "ops/elementwise_cuda.h"
#include "tensor/cuda_check.h"
#include "tensor/cuda_device.h"

namespace choir {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMaxBlocks = 1 << 16;

// The first `vectors` groups of four by 16-byte accesses, the rest one by one. Every element gets
// one fused multiply-add, so alignment never changes a number.
__global__ void AddScaledKernel(float* to, const float* from, float scale, int64_t n,
                                int64_t vectors) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  float4* to4 = reinterpret_cast<float4*>(to);
  const float4* from4 = reinterpret_cast<const float4*>(from);
  for (int64_t i = first; i < vectors; i += stride) {
    const float4 x = from4[i];
    float4 y = to4[i];
    y.x = fmaf(scale, x.x, y.x);
    y.y = fmaf(scale, x.y, y.y);
    y.z = fmaf(scale, x.z, y.z);
    y.w = fmaf(scale, x.w, y.w);
    to4[i] = y;
  }
  for (int64_t i = 4 * vectors + first; i < n; i += stride) to[i] = fmaf(scale, from[i], to[i]);
}

// A view of a few rows may start anywhere.
bool Aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % sizeof(float4) == 0; }

}  // namespace

void CudaAddScaled(float* to, const float* from, float scale, int64_t n) {
  if (n == 0) return;
  const int64_t vectors = Aligned(to) && Aligned(from) ? n / 4 : 0;
  const int64_t work = std::max(vectors, n - 4 * vectors);
  const int64_t blocks = std::min((work + kThreads - 1) / kThreads, kMaxBlocks);
  const auto stream = static_cast<cudaStream_t>(CudaComputeStream());
  AddScaledKernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(to, from, scale, n,
                                                                          vectors);
  CudaCheck(cudaGetLastError(), "launch of AddScaledKernel");
}

}  // namespace choir
