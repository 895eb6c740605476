// How an optimizer keeps its moments.
#pragma once

#include <cstdint>

namespace choir {

enum class MomentFormat : uint8_t {
  kF32,
  kBF16,  // nearest even
  kInt8   // 8 bits and a scale for each block
};

}  // namespace choir
