// In which format the operands of a product are rounded before they are multiplied. Sums are F32.
#pragma once

#include <cstdint>

namespace choir {

enum class MatmulFormat : uint8_t {
  kFull,      // as they are
  kBF16,      // to nearest even
  kF16,       // to nearest even
  kFp8Block,  // E4M3 with scales: activations and their gradients 1 x 128, weights 128 x 128
  kMxfp8,     // E4M3 with power-of-two scales of 32 elements along the summed dim
};

// Of all three products of a weight: y = w x, dx = w^T dy, dw = dy x^T.
struct MatmulPrecision {
  MatmulFormat format = MatmulFormat::kFull;
  // kFp8Block: activation gradients in 128 x 128 blocks too. Known to diverge (DeepSeek-V3, app.
  // B.2); to study that.
  bool square_gradient_blocks = false;
  bool operator==(const MatmulPrecision&) const = default;
};

}  // namespace choir
