// The most choices that an expert takes, so that no rank can get more rows than it has memory for.
//
// An expert takes at most ceil(factor * T * K / E) choices of a microbatch of T tokens, padding
// included, on all ranks that share the microbatch: first come, first served in the order of the
// tokens. The rest are dropped: their term is left out of the token's sum, and the other weights
// stay as they are (GShard, Lepikhin et al. 2020, section 2.2; Switch Transformers, Fedus et al.
// 2021, section 2.2). Padding, which counts of experts leave out (ops/dispatch.h), neither takes
// capacity nor is dropped.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/tape.h"
#include "parallel/place.h"

namespace choir {

// Choices of one expert. `tokens`: of the whole microbatch.
int64_t ExpertCapacity(double factor, int64_t tokens, int64_t top_k, int64_t experts);

struct CapacityInput {
  int64_t capacity = 0;
  int experts = 0;
  Tensor valid;  // f32 [T], 0 for padding; undefined: no padding
};

struct KeptChoices {
  Var indices;                   // i32 [T, K], kAbsent where dropped
  std::vector<int32_t> dropped;  // [T]: choices of each token; empty on meta
};

// `indices` i32 [T, K] are the choices of this rank's tokens, a run of the microbatch's, the pieces
// of the ranks over context x tensor being in their order. Blocks for the counts of the others. A
// decision, so never computed again.
KeptChoices KeepWithinCapacity(Tape& tape, const Var& indices, const CapacityInput& input,
                               const Place& place);

}  // namespace choir
