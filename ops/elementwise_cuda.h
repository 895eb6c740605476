// CUDA kernels of ops/elementwise.h. Asynchronous on the compute stream. In a build without CUDA
// they end the process (tensor/cuda_device.h).
#pragma once

#include <cstdint>

namespace choir {

// to[i] += scale * from[i].
void CudaAddScaled(float* to, const float* from, float scale, int64_t n);

}  // namespace choir
