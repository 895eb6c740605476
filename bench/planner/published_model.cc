#include "bench/planner/published_model.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "bench/planner/published_layer.h"

namespace choir::planner {
namespace {

double AttentionParameters(const PublishedModel& m) {
  const double h = m.hidden;
  if (m.kv_lora > 0) {
    const double q = m.q_lora * (h + m.heads * (m.qk_nope + m.qk_rope));
    const double kv = h * (m.kv_lora + m.qk_rope) + m.kv_lora * m.heads * (m.qk_nope + m.v_dim);
    return q + kv + m.heads * m.v_dim * h;
  }
  return h * m.head_dim * (2.0 * m.heads + 2.0 * m.kv_heads);
}

double MlpParameters(const PublishedModel& m, double width) {
  return (m.gated ? 3.0 : 2.0) * m.hidden * width;
}

// The layers of one kind in [begin, end).
double DenseLayers(const PublishedModel& m, int begin, int end) {
  if (m.experts == 0) return end - begin;
  return std::max(0, std::min(end, m.dense_layers) - begin);
}

double AttentionFlops(const PublishedModel& m) {
  const double width = m.kv_lora > 0 ? m.heads * (m.qk_nope + m.qk_rope + m.v_dim) / 2.0
                                     : static_cast<double>(m.heads) * m.head_dim;
  const int layers = m.layers + (m.mtp ? 1 : 0);
  // Without causal kernels both halves are computed, and counted by those who publish them.
  const double full = (m.fused_attention ? 6.0 : 12.0) * width * m.seq;
  if (m.window == 0) return layers * full;
  const double near = 12.0 * width * m.window;
  return layers / 2.0 * (full + near);
}

using Parts = std::vector<LayerPart>;

void Append(const PassWork& from, double count, PassWork& to) {
  for (WorkItem item : from.work) {
    item.count *= count;
    to.work.push_back(item);
  }
  for (ExchangeItem item : from.exchanges) {
    item.count *= count;
    to.exchanges.push_back(item);
  }
}

// Adds `count` layers; what is recomputed runs forward again before its backward pass.
void AddParts(const Parts& parts, const PublishedRun& run, double count, StageWorkload& stage) {
  const auto& again = run.method.recompute;
  for (const LayerPart& part : parts) {
    Append(part.forward, count, stage.forward);
    Append(part.backward, count, stage.backward_input);
    const bool recomputed = again.contains(part.name) || again.contains("full");
    if (recomputed) Append(part.forward, count, stage.backward_input);
  }
}

// Weights of one rank in one layer, and the ranks that hold the same.
struct LayerWeights {
  double dense = 0, experts = 0;
};

LayerWeights WeightsOfRank(const PublishedRun& run, bool dense) {
  const PublishedLayout& l = run.layout;
  LayerWeights weights;
  const double experts = dense ? 0 : ExpertParameters(run.model);
  weights.dense = (LayerParameters(run.model, dense) - experts) / l.tensor;
  weights.experts = experts / l.expert / l.expert_tensor;
  return weights;
}

struct ShardGroup {
  int ranks = 1, per_node = 1;
};

// Ranks that share dense weights (all of data and context) or a set of experts.
ShardGroup DenseGroup(const PublishedRun& run, int ranks_per_node) {
  const int ranks = run.layout.data * run.layout.context;
  return {ranks, RanksOnNode(ranks, run.layout.tensor, ranks_per_node)};
}
ShardGroup ExpertGroup(const PublishedRun& run, int ranks_per_node) {
  const PublishedLayout& l = run.layout;
  const int stride = l.expert * l.expert_tensor;
  const int ranks = std::max(1, l.ranks / l.pipe / stride);
  return {ranks, RanksOnNode(ranks, stride, ranks_per_node)};
}

ExchangeItem ShardExchange(ExchangeKind kind, const ShardGroup& group, const char* axis,
                           double bytes, Overlap overlap) {
  ExchangeItem item{.kind = kind, .axis = axis, .ranks = group.ranks};
  item.ranks_per_node = group.per_node;
  item.bytes = bytes;
  item.overlap = overlap;
  return item;
}

// ZeRO-3: weights are gathered for each pass of each layer and their gradients summed at once.
void AddGathers(const PublishedRun& run, int ranks_per_node, double dense, double experts,
                StageWorkload& stage) {
  const Overlap overlap = run.method.data_overlap ? Overlap::kPass : Overlap::kNone;
  const auto add = [&](double weights, const ShardGroup& group, const char* axis) {
    if (weights <= 0 || group.ranks <= 1) return;
    const auto gather = ShardExchange(ExchangeKind::kAllGather, group, axis, 2 * weights, overlap);
    stage.forward.exchanges.push_back(gather);
    stage.backward_input.exchanges.push_back(gather);
    if (run.method.frozen) return;
    stage.backward_input.exchanges.push_back(ShardExchange(
        ExchangeKind::kReduceScatter, group, axis, run.method.gradient_bytes * weights, overlap));
  };
  add(dense, DenseGroup(run, ranks_per_node), "shard");
  add(experts, ExpertGroup(run, ranks_per_node), "expert_shard");
}

// The optimizer reads gradients, reads and writes two moments and a master copy, and writes
// weights.
void AddOptimizer(double weights, double bytes, PassWork& update) {
  if (weights <= 0) return;
  update.work.push_back({{.kind = WorkKind::kOptimizer,
                          .name = "adamw",
                          .flops = 12 * weights,
                          .bytes = bytes * weights}});
}

PassWork Update(const PublishedRun& run, int ranks_per_node, const LayerWeights& weights) {
  PassWork update;
  const PublishedMethod& method = run.method;
  if (method.frozen || method.layer_only) return update;
  const Overlap overlap = method.data_overlap ? Overlap::kPass : Overlap::kNone;
  const auto add = [&](double count, const ShardGroup& group, const char* axis) {
    const double share = run.layout.zero > 0 ? group.ranks : 1;
    AddOptimizer(count / share, 26 + method.gradient_bytes, update);
    if (group.ranks <= 1 || run.layout.zero == 3 || count <= 0) return;
    const double gradients = method.gradient_bytes * count;
    if (run.layout.zero == 0) {
      update.exchanges.push_back(
          ShardExchange(ExchangeKind::kAllReduce, group, axis, gradients, overlap));
      return;
    }
    update.exchanges.push_back(
        ShardExchange(ExchangeKind::kReduceScatter, group, axis, gradients, overlap));
    update.exchanges.push_back(
        ShardExchange(ExchangeKind::kAllGather, group, axis, 2 * count, overlap));
  };
  add(weights.dense, DenseGroup(run, ranks_per_node), "data");
  add(weights.experts, ExpertGroup(run, ranks_per_node), "expert_data");
  return update;
}

class StepBuilder {
 public:
  StepBuilder(const PublishedRun& run, int ranks_per_node)
      : run_(run), place_{.ranks_per_node = ranks_per_node, .run = &run} {}

  StepWorkload Build() {
    const PublishedLayout& l = run_.layout;
    const PublishedModel& m = run_.model;
    StepWorkload step;
    const int per_rank = run_.batch / (l.data * run_.microbatch);
    step.schedule.kind = l.chunks > 1 ? PipelineKind::kInterleaved : PipelineKind::k1f1b;
    step.schedule.ranks = l.pipe;
    step.schedule.chunks = l.chunks;
    step.schedule.microbatches = std::max(1, per_rank);
    const std::vector<int> layers = LayersOfStages(m, l.pipe * l.chunks);
    std::vector<LayerWeights> ranks(static_cast<size_t>(l.pipe));
    int begin = 0;
    for (size_t i = 0; i < layers.size(); ++i) {
      LayerWeights& weights = ranks[i % ranks.size()];
      step.stages.push_back(
          Stage(begin, begin + layers[i], i == 0, i + 1 == layers.size(), weights));
      begin += layers[i];
    }
    const auto heavier = [](const LayerWeights& a, const LayerWeights& b) {
      return a.dense + a.experts < b.dense + b.experts;
    };
    step.update =
        Update(run_, place_.ranks_per_node, *std::max_element(ranks.begin(), ranks.end(), heavier));
    step.ranks = l.ranks;
    step.tokens = run_.tokens();
    step.model_flops = step.tokens * FlopsPerToken(m);
    return step;
  }

 private:
  void AddLayers(int count, bool dense, StageWorkload& stage, LayerWeights& weights) {
    if (count == 0) return;
    const double windows = run_.model.window > 0 ? count / 2.0 : 0;
    AddParts(LayerParts(place_, dense, false), run_, count - windows, stage);
    if (windows > 0) AddParts(LayerParts(place_, dense, true), run_, windows, stage);
    const LayerWeights layer = WeightsOfRank(run_, dense);
    weights.dense += count * layer.dense;
    weights.experts += count * layer.experts;
    if (run_.layout.zero != 3) return;
    for (int i = 0; i < count; ++i) {
      AddGathers(run_, place_.ranks_per_node, layer.dense, layer.experts, stage);
    }
  }

  void AddOnce(const LayerPart& part, double weights, StageWorkload& stage, LayerWeights& sum) {
    Append(part.forward, 1, stage.forward);
    Append(part.backward, 1, stage.backward_input);
    sum.dense += weights / run_.layout.tensor;
    if (run_.layout.zero != 3) return;
    AddGathers(run_, place_.ranks_per_node, weights / run_.layout.tensor, 0, stage);
  }

  StageWorkload Stage(int begin, int end, bool first, bool last, LayerWeights& weights) {
    const PublishedModel& m = run_.model;
    StageWorkload stage;
    const int dense = static_cast<int>(DenseLayers(m, begin, end));
    AddLayers(dense, true, stage, weights);
    AddLayers(end - begin - dense, false, stage, weights);
    const double table = static_cast<double>(m.vocab) * m.hidden;
    if (first && !run_.method.layer_only) AddOnce(EmbeddingPart(place_), table, stage, weights);
    if (last && !run_.method.layer_only) {
      AddOnce(HeadPart(place_), m.tied && first ? 0 : table, stage, weights);
      if (m.mtp) {
        AddLayers(1, false, stage, weights);
        AddOnce(PredictionPart(place_), 2.0 * m.hidden * m.hidden, stage, weights);
        AddOnce(HeadPart(place_), 0, stage, weights);
      }
    }
    const bool cut = run_.layout.sequence || run_.method.split_handover;
    stage.handover_bytes = 2.0 * run_.microbatch * m.seq / run_.layout.context * m.hidden /
                           (cut ? run_.layout.tensor : 1);
    return stage;
  }

  const PublishedRun& run_;
  const LayerPlace place_;
};

}  // namespace

double ExpertParameters(const PublishedModel& m) { return m.experts * MlpParameters(m, m.moe_ffn); }

double LayerParameters(const PublishedModel& m, bool dense) {
  if (dense) return AttentionParameters(m) + MlpParameters(m, m.ffn);
  return AttentionParameters(m) + static_cast<double>(m.hidden) * m.experts + ExpertParameters(m) +
         MlpParameters(m, static_cast<double>(m.shared) * m.moe_ffn);
}

double ActiveLayerParameters(const PublishedModel& m, bool dense) {
  if (dense) return LayerParameters(m, true);
  return LayerParameters(m, false) - ExpertParameters(m) + MlpParameters(m, m.moe_ffn) * m.topk;
}

double Parameters(const PublishedModel& m) {
  const double dense = DenseLayers(m, 0, m.layers);
  const double table = static_cast<double>(m.vocab) * m.hidden;
  double sum = dense * LayerParameters(m, true) + table * (m.tied ? 1 : 2);
  if (m.experts > 0) sum += (m.layers - dense) * LayerParameters(m, false);
  if (m.mtp) sum += LayerParameters(m, false) + 2.0 * m.hidden * m.hidden;
  return sum;
}

double FlopsPerToken(const PublishedModel& m) {
  const double dense = DenseLayers(m, 0, m.layers);
  double active = dense * ActiveLayerParameters(m, true);
  if (m.experts > 0) active += (m.layers - dense) * ActiveLayerParameters(m, false);
  const double head = static_cast<double>(m.vocab) * m.hidden;
  active += head;
  if (m.mtp) active += ActiveLayerParameters(m, false) + 2.0 * m.hidden * m.hidden + head;
  return 6 * active + AttentionFlops(m);
}

std::vector<int> LayersOfStages(const PublishedModel& m, int stages) {
  CHECK(stages >= 1 && stages <= m.layers + 2) << stages << " stages of " << m.layers;
  // Embedding, head and prediction layer weigh as layers where that comes out even.
  const int extra = 2 + (m.mtp ? 1 : 0);
  const bool even = m.layers % stages != 0 && (m.layers + extra) % stages == 0;
  const int units = m.layers + (even ? extra : 0);
  std::vector<int> layers(static_cast<size_t>(stages), units / stages);
  // What is left over goes to the stages in the middle.
  const int rest = units % stages;
  for (int i = 0; i < rest; ++i) ++layers[static_cast<size_t>((stages - rest) / 2 + i)];
  if (even) {
    layers.front() -= 1;
    int last = extra - 1;
    for (size_t i = layers.size(); i-- > 0 && last > 0;) {
      const int taken = std::min(last, layers[i]);
      layers[i] -= taken;
      last -= taken;
    }
  }
  return layers;
}

StepWorkload BuildStep(const PublishedRun& run, int ranks_per_node) {
  return StepBuilder(run, ranks_per_node).Build();
}

}  // namespace choir::planner
