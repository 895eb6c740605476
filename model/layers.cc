#include "model/layers.h"

#include <cmath>
#include <numeric>

#include "ops/balance_loss.h"
#include "ops/dispatch.h"
#include "ops/elementwise.h"
#include "ops/grouped_matmul.h"
#include "ops/matmul.h"
#include "ops/swiglu.h"
#include "parallel/context/context_attention.h"
#include "parallel/expert/capacity.h"

namespace choir {
namespace {

// Projections into the residual stream start smaller, so that its variance does not grow with
// depth (GPT-2).
ParameterInit ResidualInit(const ModelConfig& config) {
  const double scale = config.scale_residual_init ? 1 / std::sqrt(2.0 * config.layers) : 1;
  return {config.init_std * scale};
}

}  // namespace

void ParameterList::Make(Parameter& parameter, const std::string& name, Placement placement,
                         ParameterInit init, Matrices matrices) {
  parameter.name = name;
  const Shape shape =
      LocalSlice(placement.shape, placement.layout, place->mesh(), place->rank()).count;
  TensorOptions of_kind = options;
  of_kind.category = MemoryCategory::kParameters;
  if (stored) of_kind.dtype = stored(name, placement.shape);
  const ParameterStorage kept = storage ? storage(placement) : ParameterStorage::kWhole;
  if (kept == ParameterStorage::kShardsOnly) {
    parameter.sharded = std::make_shared<ShardedValue>(ShardedValue{shape, of_kind, {}, {}});
  } else {
    parameter.value = Tensor::Empty(shape, of_kind);
  }
  if (kept == ParameterStorage::kWhole) {
    parameter.grad = Tensor::Zeros(shape, parameter.options(MemoryCategory::kGradients));
  }
  entries.push_back({&parameter, init, std::move(placement), std::move(matrices), {unit}});
}

Var GatherTokens(Tape& tape, const Var& x, const BlockInput& input, const Place& place) {
  Var all = Redistribute(tape, x, input.tokens.Gather(place), "gather");
  tape.SetRows(input.tokens.context_leaves);
  return all;
}

Var SumTokens(Tape& tape, const Var& x, const BlockInput& input, const Place& place) {
  Var piece = Redistribute(tape, x, input.tokens.Scatter(place), "scatter");
  tape.SetRows(input.tokens.local_leaves);
  return piece;
}

void Attention::Make(ParameterList& list, const std::string& prefix, const ModelConfig& config) {
  const int64_t groups = config.NumKvHeads(), head_dim = config.HeadDim(), hidden = config.hidden;
  const int64_t queries = config.heads / groups;
  place = list.place;
  all_groups = groups;
  norm_eps = config.norm_eps;
  scale = 1 / std::sqrt(static_cast<double>(head_dim));
  list.Make(qkv, prefix + "qkv",
            {{groups, queries + 2, head_dim, hidden}, Layout::Split(0, Axis::kTensor)},
            {config.init_std},
            {{{"hhrc", 1, 0, queries}, {"hrrc", 1, queries, 1}, {"rrrc", 1, queries + 1, 1}}});
  list.Make(output, prefix + "output",
            {{hidden, groups, queries * head_dim}, Layout::Split(1, Axis::kTensor)},
            ResidualInit(config), {{{"rcc"}}});
  if (!config.qk_norm) return;
  const Placement norm{{head_dim}, {}, /*over_heads=*/true};
  list.Make(q_norm.emplace(), prefix + "q_norm", norm, {.ones = true});
  list.Make(k_norm.emplace(), prefix + "k_norm", norm, {.ones = true});
}

Var Attention::Prepare(Tape& tape, const Var& x, const BlockInput& input) {
  const Shape& w = qkv.shape();
  const int64_t group_size = w.dim(1) * w.dim(2);
  const Var all = GatherTokens(tape, x, input, *place);
  const Var projected =
      tape.Reshape(Linear(tape, all, qkv,
                          {.tag = "attention.qkv",
                           .out_pieces = PiecesOf(*place, Axis::kTensor, all_groups, group_size)}),
                   {all.dim(0), w.dim(0), w.dim(1), w.dim(2)});
  const QkNorm norm{q_norm ? &*q_norm : nullptr, k_norm ? &*k_norm : nullptr, norm_eps};
  const int64_t pieces = kVirtualPieces / place->Size(Axis::kTensor);
  return PrepareQkv(tape, projected, norm, *rotary, input.positions,
                    {.group_pieces = PiecesOf(*place, Axis::kTensor, all_groups, 1),
                     .first_piece = place->Coord(Axis::kTensor) * pieces,
                     .token_leaves = input.tokens.leaves_per_step});
}

Var Attention::Forward(Tape& tape, const Var& x, const BlockInput& input, KvCache* cache) {
  Var prepared = Prepare(tape, x, input);
  Var mixed;
  if (cache != nullptr) {
    mixed =
        tape.Input(tape.Rounded("attention", CachedAttention(prepared.tensor(), *cache, scale)));
  } else {
    mixed = ContextAttention(tape, prepared, {input.boundaries, scale, &input.tokens}, *place);
  }
  prepared = Var();
  const Shape& w = qkv.shape();
  const int64_t group_size = (w.dim(1) - 2) * w.dim(2);
  const Var sum = Linear(tape, mixed, output,
                         {.tag = "attention.output",
                          .in_pieces = PiecesOf(*place, Axis::kTensor, all_groups, group_size),
                          .in_dims = 2});
  return SumTokens(tape, sum, input, *place);
}

void FeedForward::Make(ParameterList& list, const std::string& prefix, const ModelConfig& config,
                       int full_width) {
  place = list.place;
  width = full_width;
  list.Make(gate_up, prefix + "gate_up",
            {{width, 2, config.hidden}, Layout::Split(0, Axis::kTensor)}, {config.init_std},
            {{{"rbc"}}});
  list.Make(down, prefix + "down", {{config.hidden, width}, Layout::Split(1, Axis::kTensor)},
            ResidualInit(config), {{{"rc"}}});
  clamp = config.swiglu_clamp;
}

Var FeedForward::Forward(Tape& tape, const Var& x, const BlockInput& input) {
  const Var all = GatherTokens(tape, x, input, *place);
  const Var inner = SwiGlu(
      tape,
      Linear(tape, all, gate_up,
             {.tag = "ffn.gate_up", .out_pieces = PiecesOf(*place, Axis::kTensor, width, 2)}),
      clamp);
  const Var sum =
      Linear(tape, inner, down,
             {.tag = "ffn.down", .in_pieces = PiecesOf(*place, Axis::kTensor, width, 1)});
  return SumTokens(tape, sum, input, *place);
}

void MixtureOfExperts::Make(ParameterList& list, const std::string& prefix,
                            const ModelConfig& model) {
  config = model.moe;
  options = model.Router();
  clamp = model.swiglu_clamp;
  place = list.place;
  const int64_t experts = config.experts, width = config.width, hidden = model.hidden;
  list.Make(router, prefix + "router", {{experts, hidden}, {}}, {model.init_std}, {{{"rc"}}});
  Layout up, back;
  up.split[0] = back.split[0] = Axis::kExpert;
  up.split[1] = back.split[2] = Axis::kExpertTensor;
  list.Make(gate_up, prefix + "experts.gate_up", {{experts, width, 2, hidden}, up},
            {model.init_std}, {{{"brbc"}}});
  list.Make(down, prefix + "experts.down", {{experts, hidden, width}, back}, ResidualInit(model),
            {{{"brc"}}});
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
  SentTokens sent;
  {
    Var logits = Linear(tape, x, router, "moe.router");
    Routing routing = Route(tape, logits, bias, options);
    report.indices = routing.indices.tensor();
    if (x.tensor().device() != Device::kMeta) {
      report.expert_tokens = ExpertCounts(report.indices, input.valid, config.experts);
    }
    AddLosses(tape, logits, routing, input, report);
    const Var kept = LimitToCapacity(tape, routing.indices, input, report);
    sent = SendTokens(tape, x, {kept, routing.weights, config.experts, input.routing}, *place);
  }
  Var of_shared;  // while rows travel; in backward, while their gradients do
  if (shared) of_shared = shared->Forward(tape, x, input);
  DeliverTokens(tape, sent);
  const Var results = RunExperts(tape, std::move(sent.rows), sent.exchange);
  Var y = ReturnTokens(tape, results, sent);
  return shared ? Add(tape, y, of_shared) : y;
}

Var MixtureOfExperts::LimitToCapacity(Tape& tape, const Var& indices, const BlockInput& input,
                                      RoutingReport& report) const {
  if (!input.capacity_factor) return indices;
  const int64_t tokens = input.tokens.total > 0 ? input.tokens.total : indices.dim(0);
  const CapacityInput limit{
      ExpertCapacity(*input.capacity_factor, tokens, config.top_k, config.experts), config.experts,
      input.valid};
  KeptChoices kept = KeepWithinCapacity(tape, indices, limit, *place);
  report.dropped = std::move(kept.dropped);
  return kept.indices;
}

Var MixtureOfExperts::RunExperts(Tape& tape, Var rows, const ExchangeRef& exchange) {
  const ExchangePlan& plan = exchange->plan;
  const int64_t width = config.width;
  GroupedOptions up{.tag = "moe.gate_up",
                    .out_pieces = PiecesOf(*place, Axis::kExpertTensor, width, 2),
                    .leaves = plan.leaves};
  GroupedOptions back{.tag = "moe.down",
                      .in_pieces = PiecesOf(*place, Axis::kExpertTensor, width, 1),
                      .leaves = plan.leaves};
  OverlapExperts(exchange, up, back);
  Var inner = GroupedLinear(tape, rows, gate_up, plan.offsets, up);
  rows = Var();
  inner = SwiGlu(tape, inner, clamp, "moe.swiglu");
  return GroupedLinear(tape, inner, down, plan.offsets, back);
}

void MixtureOfExperts::AddLosses(Tape& tape, const Var& logits, const Routing& routing,
                                 const BlockInput& input, RoutingReport& report) const {
  const TokenPlan& tokens = input.tokens;
  const int64_t total = tokens.total > 0 ? tokens.total : logits.dim(0);
  BalanceInput balance{.valid = input.valid,
                       .scale = input.batch_share,
                       .options = options,
                       .rows_per_sequence = total / input.rows,
                       .runs = tokens.local,
                       .total_rows = tokens.total,
                       .token_group = place->Ranks(kTokenAxes)};
  auto add = [&](double coefficient, auto&& loss) {
    balance.coefficient = coefficient;
    if (coefficient > 0) report.losses.push_back(loss(balance));
  };
  add(config.sequence_loss,
      [&](const BalanceInput& in) { return SequenceBalanceLoss(tape, routing, in); });
  add(config.balance_loss,
      [&](const BalanceInput& in) { return LoadBalanceLoss(tape, routing, in); });
  add(config.z_loss, [&](const BalanceInput& in) { return RouterZLoss(tape, logits, in); });
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
