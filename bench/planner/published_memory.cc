#include "bench/planner/published_memory.h"

#include <algorithm>

#include "bench/planner/published_model.h"

namespace choir::planner {
namespace {

// sbh (34 + 5 a s / h), cut by tensor and sequence ranks.
double OldBlock(const PublishedRun& run, double sbh) {
  const PublishedModel& m = run.model;
  const double t = run.layout.tensor;
  const double square = 5.0 * m.heads * m.seq / m.hidden;
  const auto& recompute = run.method.recompute;
  if (recompute.contains("full")) return 2 * sbh;
  const double attention = recompute.contains("core_attn") ? 0 : square;
  if (run.layout.sequence) return sbh / t * (34 + attention);
  return sbh * (10 + 24 / t + attention / t);
}

// Norm inputs and what goes into the projections, rotated queries and keys, attention, MLP.
double ModernBlock(const PublishedRun& run, double sbh) {
  const PublishedModel& m = run.model;
  const double t = run.layout.tensor, kv = static_cast<double>(m.kv_heads) / m.heads;
  const double wide = static_cast<double>(m.heads) * m.head_dim / m.hidden;
  const auto& recompute = run.method.recompute;
  if (recompute.contains("full")) return 2 * sbh / (run.layout.sequence ? t : 1);
  const double share = sbh / t;
  double bytes = 4 * share;                                              // norm inputs
  if (!recompute.contains("norm")) bytes += 4 * sbh;                     // norm outputs, gathered
  bytes += share * wide * (2 + 4 * kv);                                  // q, k, v
  if (!recompute.contains("qkv")) bytes += share * wide * (2 + 2 * kv);  // rotated q, k
  bytes += share * wide * 2 + 4 * share / m.hidden * m.heads;  // attention's result, row sums
  const double mlp = share * 2 * m.ffn / m.hidden;             // one tensor of the MLP's width
  const bool recomputes_up = recompute.contains("fc1"), recomputes_act = recompute.contains("act");
  if (!recomputes_up) bytes += mlp * (m.gated ? 2 : 1) + (recomputes_act ? 0 : 2 * mlp);
  return bytes;
}

// A microbatch's activations at the first rank, in layers.
double LayersInFlight(const PublishedRun& run) {
  const PublishedLayout& l = run.layout;
  const double microbatches = static_cast<double>(run.batch) / (l.data * run.microbatch);
  const double layers = run.model.layers;
  if (l.pipe == 1) return layers;
  const double full = l.chunks > 1 ? layers * (1 + (l.pipe - 1.0) / (l.pipe * l.chunks)) : layers;
  return std::min(full, layers * microbatches / l.pipe);
}

}  // namespace

double ActivationBytes(const PublishedRun& run) {
  const PublishedModel& m = run.model;
  const double sbh = static_cast<double>(m.seq) * run.microbatch * m.hidden / run.layout.context;
  return m.fused_attention ? ModernBlock(run, sbh) : OldBlock(run, sbh);
}

PublishedMemory MemoryOf(const PublishedRun& published) {
  PublishedRun run = published;
  if (run.model.heads == 0) {  // not published; counts only through the row sums of attention
    run.model.heads = run.model.kv_heads = std::max(1, run.model.hidden / 128);
    run.model.head_dim = run.model.hidden / run.model.heads;
  }
  const PublishedModel& m = run.model;
  const PublishedLayout& l = run.layout;
  PublishedMemory memory;
  const double shards = l.data * l.context;
  const double table = static_cast<double>(m.vocab) * m.hidden;
  const double layers = Parameters(m) - table * (m.tied ? 1 : 2);
  // The first rank has its layers and the embedding; with one stage, the head too.
  const double own = (layers / l.pipe + table * (l.pipe == 1 && !m.tied ? 2 : 1)) / l.tensor;
  // F32 weights, gradients and moments, sharded; or 16-bit weights with F32 gradients and the
  // optimizer's state sharded, or whole.
  if (l.zero == 3) {
    memory.weights = 16 * own / shards;
    memory.gathers = 2 * 2 * layers / m.layers / l.tensor + 4 * layers / m.layers / l.tensor;
  } else {
    memory.weights = own * (l.zero == 1 ? 6 + 12 / shards : 18);
  }
  memory.activations = ActivationBytes(run) * LayersInFlight(run);
  if (run.method.recompute.contains("full")) {
    PublishedRun whole = run;
    whole.method.recompute.clear();
    memory.activations += ActivationBytes(whole);  // of the layer that is at work
  }
  const double rows = static_cast<double>(m.seq) * run.microbatch / l.context;
  if (l.pipe == 1) memory.logits = 10 * rows * m.vocab / l.tensor;
  return memory;
}

}  // namespace choir::planner
