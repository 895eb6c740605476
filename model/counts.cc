#include "model/counts.h"

namespace choir {
namespace {

struct LayerCounts {
  int64_t matrices_active = 0;  // elements of weight matrices that one token meets
  int64_t matrices_total = 0;
  int64_t vectors = 0;  // norms
};

LayerCounts CountLayer(const ModelConfig& c, int layer) {
  LayerCounts n;
  const int64_t hidden = c.hidden, head_dim = c.HeadDim();
  const int64_t attention = hidden * head_dim * (c.heads + 2 * c.NumKvHeads()) +  // q, k, v
                            hidden * head_dim * c.heads;                          // output
  n.matrices_active = n.matrices_total = attention;
  n.vectors = 2 * hidden + (c.qk_norm ? 2 * head_dim : 0);
  auto feed_forward = [&](int64_t width) { return 3 * hidden * width; };
  if (!c.IsMoeLayer(layer)) {
    n.matrices_active += feed_forward(c.ffn);
    n.matrices_total += feed_forward(c.ffn);
    return n;
  }
  const int64_t always = hidden * c.moe.experts + feed_forward(c.moe.width) * c.moe.shared_experts;
  n.matrices_active += always + feed_forward(c.moe.width) * c.moe.top_k;
  n.matrices_total += always + feed_forward(c.moe.width) * c.moe.experts;
  return n;
}

}  // namespace

ParameterCounts CountParameters(const ModelConfig& config, int64_t vocab_size) {
  ParameterCounts counts;
  counts.embedding = vocab_size * config.hidden;
  const int64_t outside = counts.embedding * (config.tie_embeddings ? 1 : 2) + config.hidden;
  counts.total = counts.active = outside;
  for (int i = 0; i < config.layers; ++i) {
    const LayerCounts layer = CountLayer(config, i);
    counts.total += layer.matrices_total + layer.vectors;
    counts.active += layer.matrices_active + layer.vectors;
  }
  return counts;
}

FlopCounts CountFlops(const ModelConfig& config, int64_t vocab_size) {
  FlopCounts flops;
  int64_t matrices = vocab_size * config.hidden;  // the head
  for (int i = 0; i < config.layers; ++i) matrices += CountLayer(config, i).matrices_active;
  flops.linear_per_token = 2.0 * static_cast<double>(matrices);
  // Score and weighted value: two products of the head's width.
  flops.attention_per_pair = 4.0 * config.layers * config.heads * config.HeadDim();
  return flops;
}

}  // namespace choir
