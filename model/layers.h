// The parts of a transformer block. Layers own their parameters (this rank's part of them, see
// parallel/mesh/placement.h) and name how values lie at their boundaries; the same code runs on one
// rank, where every redistribution is nothing.
// Shapes: T tokens, C hidden, G key-value heads, R query heads of each, D head width, E experts,
// F feed-forward width. Every shard of a weight is one slab: fused projections put the dim that is
// split outermost or keep it apart.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/config.h"
#include "ops/attention.h"
#include "ops/kv_cache.h"
#include "ops/matrix_family.h"
#include "ops/parameter.h"
#include "ops/rotary.h"
#include "ops/router.h"
#include "ops/tape.h"
#include "parallel/expert/token_exchange.h"
#include "parallel/mesh/placement.h"
#include "parallel/tokens.h"

namespace choir {

// What every block of one forward pass shares.
// T is the number of tokens that this rank has between blocks (TokenPlan::local), A those of
// its context rank: the tokens that attention, dense feed-forward and the head work on.
struct BlockInput {
  Tensor positions;                                        // i32 [A], within the document
  std::shared_ptr<const std::vector<int32_t>> boundaries;  // cumulative lengths of all documents
  Tensor valid;                                            // f32 [T], 0 for padding
  int64_t rows = 1;                                        // sequences in the whole microbatch
  double batch_share = 1;                                  // of the global batch, for mean losses
  std::optional<double> capacity_factor;                   // parallel/expert/capacity.h; none drops
  ExchangeRouting* routing = nullptr;                      // parallel/expert/routing.h
  TokenPlan tokens;                                        // not needed on one rank in fast mode
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
    Placement placement;
    Matrices matrices;
    std::vector<int> units;  // that use it (Tape::SetUnit)
  };
  std::vector<Entry> entries;
  TensorOptions options;  // dtype and device
  const Place* place = nullptr;
  int unit = 0;                                               // of what is made
  std::function<ParameterStorage(const Placement&)> storage;  // null: whole
  // Of values as they are kept, by name; null: that of `options`.
  std::function<DType(const std::string& name, const Shape& whole)> stored;

  // Allocates this rank's part of a parameter of `placement.shape`, as far as `storage` says.
  // `matrices`: what of the whole is one matrix (none: vectors).
  void Make(Parameter& parameter, const std::string& name, Placement placement, ParameterInit init,
            Matrices matrices = {});
};

// The whole of x [T, ...] from its pieces on the tensor ranks, [A, ...]; and back: the sum of the
// tensor ranks' [A, ...], cut. What is between them counts its tokens by context rank.
Var GatherTokens(Tape& tape, const Var& x, const BlockInput& input, const Place& place);
Var SumTokens(Tape& tape, const Var& x, const BlockInput& input, const Place& place);

struct Attention {
  Parameter qkv;     // [G, R + 2, D, C]: of each group its queries, then key, then value
  Parameter output;  // [C, G R D]
  std::optional<Parameter> q_norm, k_norm;  // [D]
  double norm_eps = 0;
  double scale = 1;
  int64_t all_groups = 0;  // of all tensor ranks; a rank may have none
  const RotaryTable* rotary = nullptr;
  const Place* place = nullptr;

  void Make(ParameterList& list, const std::string& prefix, const ModelConfig& config);
  // x [T, C] -> [T, C]. With `cache`, T new tokens of one sequence are appended to it.
  Var Forward(Tape& tape, const Var& x, const BlockInput& input, KvCache* cache);

 private:
  Var Prepare(Tape& tape, const Var& x, const BlockInput& input);
};

// down(silu(gate(x)) * up(x)).
struct FeedForward {
  Parameter gate_up;  // [F, 2, C]
  Parameter down;     // [C, F]
  std::optional<double> clamp;
  int64_t width = 0;  // F of all tensor ranks
  const Place* place = nullptr;

  void Make(ParameterList& list, const std::string& prefix, const ModelConfig& config, int width);
  // x [T, C] -> [T, C].
  Var Forward(Tape& tape, const Var& x, const BlockInput& input);
};

// What a mixture-of-experts layer reports of one forward pass.
struct RoutingReport {
  int layer = 0;
  std::vector<int64_t> expert_tokens;  // [E], of this rank's tokens, no padding; empty on meta
  std::vector<Var> losses;             // balance losses, each [1], already scaled
  Tensor indices;                      // i32 [T, K]: what the router chose
  std::vector<int32_t> dropped;        // [T]: choices beyond capacity; empty if there is none
};

// DeepSeekMoE: shared experts, and the top K of E routed ones. Where BlockInput has a capacity
// factor, choices beyond it are dropped; router bias and balance losses see all choices.
struct MixtureOfExperts {
  Parameter router;   // [E, C]
  Parameter gate_up;  // [E, F, 2, C]
  Parameter down;     // [E, C, F]
  std::optional<FeedForward> shared;
  Tensor bias;  // [E], moved by UpdateBias; undefined without balancing by bias
  MoeConfig config;
  RouterOptions options;
  std::optional<double> clamp;
  const Place* place = nullptr;
  int layer = 0;

  void Make(ParameterList& list, const std::string& prefix, const ModelConfig& config);
  Var Forward(Tape& tape, const Var& x, const BlockInput& input, RoutingReport& report);
  // Auxiliary-loss-free balancing (DeepSeek-V3, section 2.1.2): after an optimizer step, lowers
  // the bias of experts above the mean of `expert_tokens` (of the whole global batch) by
  // bias_speed, raises that of experts below.
  void UpdateBias(const std::vector<int64_t>& expert_tokens);

 private:
  Var RunExperts(Tape& tape, Var rows, const ExchangeRef& exchange);
  Var LimitToCapacity(Tape& tape, const Var& indices, const BlockInput& input,
                      RoutingReport& report) const;
  void AddLosses(Tape& tape, const Var& logits, const Routing& routing, const BlockInput& input,
                 RoutingReport& report) const;
};

}  // namespace choir
