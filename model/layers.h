// The parts of a transformer block. Layers own their parameters and know nothing of ranks.
// Shapes: T tokens, C hidden, G key-value heads, R query heads of each, D head width, E experts,
// F feed-forward width. Every shard of a weight is one slab: fused projections put the dim that is
// split outermost or keep it apart.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/config.h"
#include "ops/attention.h"
#include "ops/dispatch.h"
#include "ops/kv_cache.h"
#include "ops/parameter.h"
#include "ops/rotary.h"
#include "ops/router.h"
#include "ops/tape.h"

namespace choir {

// What every block of one forward pass shares.
struct BlockInput {
  Tensor positions;                                        // i32 [T], within the document
  std::shared_ptr<const std::vector<int32_t>> boundaries;  // cumulative document lengths
  Tensor valid;                                            // f32 [T], 0 for padding
  int64_t rows = 1;                                        // sequences of T / rows tokens
  double batch_share = 1;                                  // of the global batch, for mean losses
};

// How initial values are drawn: N(0, std^2), or ones.
struct ParameterInit {
  double std = 0;
  bool ones = false;
};

// Makes parameters under a common name prefix and remembers how to initialise them.
struct ParameterList {
  struct Entry {
    Parameter* parameter;
    ParameterInit init;
  };
  std::vector<Entry> entries;
  TensorOptions options;  // dtype and device

  void Make(Parameter& parameter, const std::string& name, const Shape& shape, ParameterInit init);
};

struct Attention {
  Parameter qkv;     // [G, R + 2, D, C]: of each group its queries, then key, then value
  Parameter output;  // [C, G R D]
  std::optional<Parameter> q_norm, k_norm;  // [D]
  double norm_eps = 0;
  const RotaryTable* rotary = nullptr;

  void Make(ParameterList& list, const std::string& prefix, const ModelConfig& config);
  // x [T, C] -> [T, C]. With `cache`, T new tokens of one sequence are appended to it.
  Var Forward(Tape& tape, const Var& x, const BlockInput& input, KvCache* cache);
};

// down(silu(gate(x)) * up(x)).
struct FeedForward {
  Parameter gate_up;  // [F, 2, C]
  Parameter down;     // [C, F]
  std::optional<double> clamp;

  void Make(ParameterList& list, const std::string& prefix, const ModelConfig& config, int width);
  Var Forward(Tape& tape, const Var& x);
};

// What a mixture-of-experts layer reports of one forward pass.
struct RoutingReport {
  std::vector<int64_t> expert_tokens;  // [E], padding not counted; empty on meta
  std::vector<Var> losses;             // balance losses, each [1], already scaled
  Tensor indices;                      // i32 [T, K]
};

// DeepSeekMoE: shared experts, and the top K of E routed ones; no token is dropped.
struct MixtureOfExperts {
  Parameter router;   // [E, C]
  Parameter gate_up;  // [E, F, 2, C]
  Parameter down;     // [E, C, F]
  std::optional<FeedForward> shared;
  Tensor bias;  // [E], moved by UpdateBias; undefined without balancing by bias
  MoeConfig config;
  RouterOptions options;
  std::optional<double> clamp;

  void Make(ParameterList& list, const std::string& prefix, const ModelConfig& config);
  Var Forward(Tape& tape, const Var& x, const BlockInput& input, RoutingReport& report);
  // Auxiliary-loss-free balancing (DeepSeek-V3, section 2.1.2): after an optimizer step, lowers
  // the bias of experts above the mean of `expert_tokens` (of the whole global batch) by
  // bias_speed, raises that of experts below.
  void UpdateBias(const std::vector<int64_t>& expert_tokens);

 private:
  void AddLosses(Tape& tape, const Var& logits, const Routing& routing, const BlockInput& input,
                 RoutingReport& report) const;
};

}  // namespace choir
