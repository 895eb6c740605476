#include "train/gemm_peak.h"

#include <algorithm>
#include <chrono>

#include "ops/gemm.h"

namespace choir {
namespace {

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

double MeasureGemmPeak(double seconds) {
  constexpr int64_t kSize = 1536;  // 3 x 3 tiles, and large enough to hide packing
  const TensorOptions options{DType::kF32, Device::kCpu, MemoryCategory::kWorkspace};
  Tensor a = Tensor::Zeros({kSize, kSize}, options), b = Tensor::Zeros({kSize, kSize}, options);
  Tensor c = Tensor::Empty({kSize, kSize}, options);
  double best = 0;
  const double end = Now() + seconds;
  do {
    const double start = Now();
    MatmulInto(c, a, Transpose::kNo, b, Transpose::kYes, 0);
    best = std::max(best, 2.0 * kSize * kSize * kSize / (Now() - start));
  } while (Now() < end);
  return best;
}

}  // namespace choir
