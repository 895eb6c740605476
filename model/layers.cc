#include "model/layers.h"

#include <cmath>
#include <numeric>

#include "ops/balance_loss.h"
#include "ops/elementwise.h"
#include "ops/grouped_matmul.h"
#include "ops/matmul.h"
#include "ops/swiglu.h"

namespace choir {
namespace {

// Projections into the residual stream start smaller, so that its variance does not grow with
// depth (GPT-2).
ParameterInit ResidualInit(const ModelConfig& config) {
  const double scale = config.scale_residual_init ? 1 / std::sqrt(2.0 * config.layers) : 1;
  return {config.init_std * scale};
}

}  // namespace

void ParameterList::Make(Parameter& parameter, const std::string& name, const Shape& shape,
                         ParameterInit init) {
  parameter.name = name;
  TensorOptions of_kind = options;
  of_kind.category = MemoryCategory::kParameters;
  parameter.value = Tensor::Empty(shape, of_kind);
  of_kind.category = MemoryCategory::kGradients;
  parameter.grad = Tensor::Zeros(shape, of_kind);
  entries.push_back({&parameter, init});
}

void Attention::Make(ParameterList& list, const std::string& prefix, const ModelConfig& config) {
  const int64_t groups = config.NumKvHeads(), head_dim = config.HeadDim(), hidden = config.hidden;
  const int64_t queries = config.heads / groups;
  list.Make(qkv, prefix + "qkv", {groups, queries + 2, head_dim, hidden}, {config.init_std});
  list.Make(output, prefix + "output", {hidden, config.heads * head_dim}, ResidualInit(config));
  norm_eps = config.norm_eps;
  if (!config.qk_norm) return;
  list.Make(q_norm.emplace(), prefix + "q_norm", {head_dim}, {.ones = true});
  list.Make(k_norm.emplace(), prefix + "k_norm", {head_dim}, {.ones = true});
}

Var Attention::Forward(Tape& tape, const Var& x, const BlockInput& input, KvCache* cache) {
  const Shape& w = qkv.value.shape();
  const double scale = 1 / std::sqrt(static_cast<double>(w.dim(2)));
  const QkNorm norm{q_norm ? &*q_norm : nullptr, k_norm ? &*k_norm : nullptr, norm_eps};
  Var prepared;
  {
    Var projected = tape.Reshape(Linear(tape, x, qkv, "attention.qkv"),
                                 {x.dim(0), w.dim(0), w.dim(1), w.dim(2)});
    prepared = PrepareQkv(tape, projected, norm, *rotary, input.positions);
  }
  Var mixed = cache != nullptr ? tape.Input(CachedAttention(prepared.tensor(), *cache, scale))
                               : CausalAttention(tape, prepared, input.boundaries, scale);
  prepared = Var();
  return Linear(tape, mixed, output, "attention.output");
}

void FeedForward::Make(ParameterList& list, const std::string& prefix, const ModelConfig& config,
                       int width) {
  list.Make(gate_up, prefix + "gate_up", {width, 2, config.hidden}, {config.init_std});
  list.Make(down, prefix + "down", {config.hidden, width}, ResidualInit(config));
  clamp = config.swiglu_clamp;
}

Var FeedForward::Forward(Tape& tape, const Var& x) {
  Var inner = SwiGlu(tape, Linear(tape, x, gate_up, "ffn.gate_up"), clamp);
  return Linear(tape, inner, down, "ffn.down");
}

void MixtureOfExperts::Make(ParameterList& list, const std::string& prefix,
                            const ModelConfig& model) {
  config = model.moe;
  options = model.Router();
  clamp = model.swiglu_clamp;
  const int64_t experts = config.experts, width = config.width, hidden = model.hidden;
  list.Make(router, prefix + "router", {experts, hidden}, {model.init_std});
  list.Make(gate_up, prefix + "experts.gate_up", {experts, width, 2, hidden}, {model.init_std});
  list.Make(down, prefix + "experts.down", {experts, hidden, width}, ResidualInit(model));
  if (config.shared_experts > 0) {
    shared.emplace().Make(list, prefix + "shared.", model, config.shared_experts * config.width);
  }
  if (config.bias_speed > 0) {
    TensorOptions of_bias = list.options;
    of_bias.category = MemoryCategory::kParameters;
    bias = Tensor::Zeros({experts}, of_bias);
  }
}

Var MixtureOfExperts::Forward(Tape& tape, const Var& x, const BlockInput& input,
                              RoutingReport& report) {
  Var weights;
  Dispatch dispatch;
  {
    Var logits = Linear(tape, x, router, "moe.router");
    Routing routing = Route(tape, logits, bias, options);
    dispatch = PlanDispatch(tape, routing.indices, config.experts);
    report.indices = routing.indices.tensor();
    if (x.tensor().device() != Device::kMeta) {
      report.expert_tokens = ExpertCounts(report.indices, input.valid, config.experts);
    }
    AddLosses(tape, logits, routing, input, report);
    weights = routing.weights;
  }
  Var y;
  {
    Var sorted = Permute(tape, x, dispatch);
    Var inner = GroupedLinear(tape, sorted, gate_up, dispatch.offsets, "moe.gate_up");
    sorted = Var();
    inner = SwiGlu(tape, inner, clamp, "moe.swiglu");
    Var expert_outputs = GroupedLinear(tape, inner, down, dispatch.offsets, "moe.down");
    inner = Var();
    y = Unpermute(tape, expert_outputs, weights, dispatch);
  }
  if (!shared) return y;
  return Add(tape, y, shared->Forward(tape, x));
}

void MixtureOfExperts::AddLosses(Tape& tape, const Var& logits, const Routing& routing,
                                 const BlockInput& input, RoutingReport& report) const {
  BalanceInput balance{.valid = input.valid, .options = options};
  balance.rows_per_sequence = logits.dim(0) / input.rows;
  auto weighted = [&](double coefficient) -> const BalanceInput& {
    balance.coefficient = coefficient * input.batch_share;
    return balance;
  };
  if (config.sequence_loss > 0) {
    report.losses.push_back(SequenceBalanceLoss(tape, routing, weighted(config.sequence_loss)));
  }
  if (config.balance_loss > 0) {
    report.losses.push_back(LoadBalanceLoss(tape, routing, weighted(config.balance_loss)));
  }
  if (config.z_loss > 0) {
    report.losses.push_back(RouterZLoss(tape, logits, weighted(config.z_loss)));
  }
}

void MixtureOfExperts::UpdateBias(const std::vector<int64_t>& expert_tokens) {
  if (!bias.defined() || bias.device() == Device::kMeta) return;
  CHECK(static_cast<int>(expert_tokens.size()) == config.experts);
  const int64_t total = std::accumulate(expert_tokens.begin(), expert_tokens.end(), int64_t{0});
  DispatchFloat(bias.dtype(), [&]<class T>() {
    T* b = bias.data<T>();
    for (size_t e = 0; e < expert_tokens.size(); ++e) {
      // Compared as integers, so that an expert at the mean does not move.
      const int64_t excess = expert_tokens[e] * config.experts - total;
      if (excess != 0) b[e] += static_cast<T>(excess > 0 ? -config.bias_speed : config.bias_speed);
    }
  });
}

}  // namespace choir
