// The casts of CUDA's own headers, which are instructions where the GPU has them.
#pragma once

#include <cstdint>

namespace choir {

enum class CudaCast { kBF16, kF16, kE4M3, kE5M2, kE4M3Saturating, kE5M2Saturating, kE2M1 };

// Codes of n floats; all arrays are on the host. Blocks. CHECKs CUDA's status.
void CastOnGpu(CudaCast cast, const float* from, uint16_t* to, int64_t n);

}  // namespace choir
