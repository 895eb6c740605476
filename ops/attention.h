// Causal attention inside documents with grouped queries, block by block: memory is O(T)
// (FlashAttention, Dao et al. 2022).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "ops/kv_cache.h"
#include "ops/tape.h"

namespace choir {

// `qkv` is [T, G, R + 2, D] from PrepareQkv: per key-value group its R query heads, then key, then
// value. `boundaries` rises from 0 to T (CHECKed; a repeated value is an empty document): tokens
// [boundaries[i], boundaries[i + 1]) are a document that sees only itself. For every query t and
// head (g, r)
//   out[t, (g, r), :] = sum over s <= t of softmax_s(scale * q[t, g, r] . k[s, g]) v[s, g],
// [T, G * R * D]. Backward saves qkv, the result and its log-sum-exp ([T, G * R], tagged
// "attention.lse"). A document's bits do not depend on its neighbours.
Var CausalAttention(Tape& tape, const Var& qkv,
                    std::shared_ptr<const std::vector<int32_t>> boundaries, double scale,
                    const Tag& tag = "attention");

// (query, key) pairs that a causal mask shows within the documents, of one head.
double VisiblePairs(const std::vector<int32_t>& boundaries);

// The same outside of a tape, for ranks that have a part of a document's tokens and complete the
// result with ops/attention_blocks.h.
struct AttentionResult {
  Tensor out;  // [T, G R D]
  Tensor lse;  // [T, G R], the log-sum-exp of the scores behind `out`
};
// `poll` is called now and then by the calling thread; may be empty.
AttentionResult AttendCausal(const Tensor& qkv, const std::vector<int32_t>& boundaries,
                             double scale, const std::function<void()>& poll = nullptr);

// What the gradient of qkv follows from; `out` and `lse` are those of all keys that a query sees.
struct AttentionGradient {
  Tensor qkv, out, lse, dout;
};
// The part of dqkv that comes from the queries and keys of AttendCausal; overwrites all of it.
Tensor AttendCausalBackward(const AttentionGradient& in, const std::vector<int32_t>& boundaries,
                            double scale, const std::function<void()>& poll = nullptr);

}  // namespace choir
