// Exact counts of parameters and of floating-point operations.
#pragma once

#include <cstdint>

#include "model/config.h"

namespace choir {

struct ParameterCounts {
  int64_t total = 0;
  // Used for one token: all but the experts that it does not visit. Includes the embedding table.
  int64_t active = 0;
  int64_t embedding = 0;  // the input table; a tied head is not counted again
};
ParameterCounts CountParameters(const ModelConfig& config, int64_t vocab_size);

// Multiply and add count as two. Products only: norms, softmax and rotary are not counted.
struct FlopCounts {
  double linear_per_token = 0;    // forward, of every weight matrix that a token meets
  double attention_per_pair = 0;  // forward, of one query seeing one key, over all layers

  // Forward and backward (twice the forward) of `tokens` tokens with `pairs` visible
  // (query, key) pairs, by which masks and document boundaries count exactly.
  double Training(double tokens, double pairs) const {
    return 3 * (linear_per_token * tokens + attention_per_pair * pairs);
  }
  // Training, per token of one document of `length` tokens under a causal mask.
  double TrainingPerToken(int64_t length) const {
    return Training(1, (static_cast<double>(length) + 1) / 2);
  }
};
FlopCounts CountFlops(const ModelConfig& config, int64_t vocab_size);

}  // namespace choir
