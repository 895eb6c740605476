// Causal attention inside documents when the tokens of a microbatch are spread over context ranks.
#pragma once

#include <memory>
#include <vector>

#include "ops/tape.h"
#include "parallel/tokens.h"

namespace choir {

struct ContextAttentionInput {
  std::shared_ptr<const std::vector<int32_t>> boundaries;  // of the whole microbatch
  double scale = 1;
  const TokenPlan* tokens = nullptr;
};

// qkv [A, G, R + 2, D] of this context rank's tokens (ops/attention.h) to [A, G R D].
//
// context_method ulysses, all-to-all (DeepSpeed Ulysses, Jacobs et al. 2023): each context rank
// trades its tokens of all groups for all tokens of its piece of the groups, attends as one rank
// would, and trades back. The bits are those of one rank. Sends (c - 1) / c of qkv and of the
// result, forward and backward.
//
// context_method ring: RingAttention (ring_attention.h).
Var ContextAttention(Tape& tape, const Var& qkv, const ContextAttentionInput& input,
                     const Place& place);

}  // namespace choir
