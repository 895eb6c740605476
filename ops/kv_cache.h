// Attention for generation: the keys and values of earlier tokens are kept, not computed again.
#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace choir {

// Keys and values of one layer and one sequence.
struct KvCache {
  Tensor keys;         // [capacity, G, D]
  Tensor values;       // [capacity, G, D]
  int64_t length = 0;  // tokens held

  static KvCache Empty(int64_t capacity, int64_t groups, int64_t head_dim,
                       const TensorOptions& options);
  int64_t capacity() const { return keys.dim(0); }
};

// `qkv` is [n, G, R + 2, D] from PrepareQkv: the next n tokens. Appends their keys and values to
// `cache` (CHECKs that they fit) and returns [n, G * R * D] as CausalAttention would for these
// tokens of one document that starts with the cached ones.
Tensor CachedAttention(const Tensor& qkv, KvCache& cache, double scale);

}  // namespace choir
