// The shape of a decoder-only transformer, dense or mixture-of-experts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/config.h"
#include "ops/rotary.h"
#include "ops/router.h"

namespace choir {

template <>
struct EnumNames<RotaryStyle> {
  static constexpr EnumName<RotaryStyle> kAll[] = {{RotaryStyle::kHalfSplit, "half_split"},
                                                   {RotaryStyle::kAdjacentPairs, "adjacent"}};
};
template <>
struct EnumNames<ScoreFunction> {
  static constexpr EnumName<ScoreFunction> kAll[] = {
      {ScoreFunction::kSigmoid, "sigmoid"},
      {ScoreFunction::kSoftmax, "softmax"},
      {ScoreFunction::kSqrtSoftplus, "sqrt_softplus"}};
};

// Context extension by YaRN (Peng et al. 2023).
struct YarnConfig {
  double factor = 1;
  int64_t original_length = 4096;
  double beta_fast = 32;
  double beta_slow = 1;
  std::optional<double> attention_factor;

  void Visit(auto&& v) {
    v("factor", factor, "how much longer the context becomes", AtLeast(1));
    v("original_length", original_length, "context length before the extension", AtLeast(1));
    v("beta_fast", beta_fast, "rotations above which a frequency is left alone", Above(0));
    v("beta_slow", beta_slow, "rotations below which a frequency is interpolated", Above(0));
    v("attention_factor", attention_factor, "scale of queries and keys; auto: 0.1 ln(factor) + 1",
      Above(0));
  }
  void Check(ConfigErrors& errors) const;
};

struct RotaryConfig {
  double base = 10000;
  RotaryStyle style = RotaryStyle::kHalfSplit;
  std::optional<int> dims;
  std::optional<YarnConfig> yarn;

  void Visit(auto&& v) {
    v("base", base, "base of the frequencies", Above(1));
    v("style", style, "which dims of a head are rotated together");
    v("dims", dims, "rotated leading dims of a head; auto: all", AtLeast(2), MultipleOf(2));
    v("yarn", yarn, "context extension; auto: none");
  }
};

// Routed experts. A model without them has `experts: 0`.
struct MoeConfig {
  int experts = 0;
  int top_k = 1;
  int width = 0;
  int shared_experts = 0;
  int dense_layers = 0;
  ScoreFunction score = ScoreFunction::kSigmoid;
  bool normalize = true;
  double route_scale = 1;
  int groups = 1;
  int group_limit = 1;
  double bias_speed = 0;
  double sequence_loss = 0;
  double balance_loss = 0;
  double z_loss = 0;

  void Visit(auto&& v) {
    v("experts", experts, "routed experts of a layer; 0: a dense model", AtLeast(0));
    v("top_k", top_k, "experts that each token visits", AtLeast(1));
    v("width", width, "feed-forward width of one expert", AtLeast(0));
    v("shared_experts", shared_experts, "experts that every token visits", AtLeast(0));
    v("dense_layers", dense_layers, "leading layers with a dense feed-forward", AtLeast(0));
    v("score", score, "what turns router logits into scores");
    v("normalize", normalize, "make the weights of the chosen experts sum to one");
    v("route_scale", route_scale, "factor on the weights", Above(0));
    v("groups", groups, "groups of experts for node-limited routing", AtLeast(1));
    v("group_limit", group_limit, "groups that a token may visit", AtLeast(1));
    v("bias_speed", bias_speed, "step of the balancing bias after each update; 0: no bias",
      AtLeast(0));
    v("sequence_loss", sequence_loss, "coefficient of the sequence-wise balance loss", AtLeast(0));
    v("balance_loss", balance_loss, "coefficient of the classical auxiliary loss", AtLeast(0));
    v("z_loss", z_loss, "coefficient of the router's z-loss", AtLeast(0));
  }
  void Check(ConfigErrors& errors) const;
};

struct ModelConfig {
  std::optional<int64_t> vocab_size;
  int layers = 2;
  int hidden = 64;
  int heads = 4;
  std::optional<int> kv_heads;
  std::optional<int> head_dim;
  int ffn = 0;
  bool qk_norm = false;
  bool tie_embeddings = false;
  double norm_eps = 1e-6;
  double init_std = 0.02;
  bool scale_residual_init = true;
  std::optional<double> swiglu_clamp;
  double z_loss = 0;
  RotaryConfig rotary;
  MoeConfig moe;

  void Visit(auto&& v) {
    v("vocab_size", vocab_size, "rows of the embedding; auto: the tokenizer's", AtLeast(2));
    v("layers", layers, "transformer blocks", AtLeast(1));
    v("hidden", hidden, "width of the residual stream", AtLeast(1));
    v("heads", heads, "query heads", AtLeast(1));
    v("kv_heads", kv_heads, "key and value heads; auto: as many as heads", AtLeast(1));
    v("head_dim", head_dim, "width of a head; auto: hidden / heads", AtLeast(2), MultipleOf(2));
    v("ffn", ffn, "feed-forward width of dense layers", AtLeast(0));
    v("qk_norm", qk_norm, "RMS-normalise the heads of queries and keys");
    v("tie_embeddings", tie_embeddings, "use the embedding as output head");
    v("norm_eps", norm_eps, "added to the mean square in RMSNorm", AtLeast(0));
    v("init_std", init_std, "standard deviation of initial weights", Above(0));
    v("scale_residual_init", scale_residual_init,
      "divide the initial weights of projections into the residual stream by sqrt(2 layers)");
    v("swiglu_clamp", swiglu_clamp, "limit on SwiGLU's inputs; auto: none", Above(0));
    v("z_loss", z_loss, "coefficient of the output softmax's z-loss", AtLeast(0));
    v("rotary", rotary, "rotary position embedding");
    v("moe", moe, "mixture of experts");
  }
  void Check(ConfigErrors& errors) const;

  int NumKvHeads() const { return kv_heads.value_or(heads); }
  int HeadDim() const { return head_dim.value_or(hidden / heads); }
  bool IsMoeLayer(int layer) const { return moe.experts > 0 && layer >= moe.dense_layers; }
  RouterOptions Router() const;
  RotaryOptions Rotary() const;
};

}  // namespace choir
