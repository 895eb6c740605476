// Attention of queries to keys that lie elsewhere: blocks in which every query sees every key,
// added to what the queries have from other keys. For ranks that have part of a document's tokens
// (parallel/context/ring_attention.h).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "ops/attention.h"

namespace choir {

// Query rows [query, query + queries) see key rows [key, key + keys), all of them.
struct SeenBlock {
  int64_t query = 0, queries = 0;
  int64_t key = 0, keys = 0;
};

struct BlockAttention {
  Tensor qkv;   // [A, G, R + 2, D], of which the queries are read
  Tensor keys;  // [S, G, n, D]: slot n - 2 is the key, n - 1 the value; may be qkv
  // Two blocks have the same queries or queries without a common row, the same for keys.
  std::vector<SeenBlock> blocks;
  double scale = 1;
  std::function<void()> poll;  // called now and then by the calling thread; may be empty
};

// Adds the blocks to `result`, which holds what the queries see elsewhere (at least one key each),
// in place and in the order of the blocks: no bit depends on the number of threads.
void AttendBlocks(const BlockAttention& a, const AttentionResult& result);

// Adds the gradients of the queries to dqkv (in.qkv is not read) and those of keys and values to
// dkeys, which may be dqkv where the keys are qkv.
void AttendBlocksBackward(const BlockAttention& a, const AttentionGradient& in, const Tensor& dqkv,
                          const Tensor& dkeys);

}  // namespace choir
