// A decoder-only transformer: embedding, blocks of attention and feed-forward (dense or mixture of
// experts), final norm and output head. Pre-norm; every norm is fused with the residual addition
// before it.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "model/layers.h"

namespace choir {

// One microbatch. T = rows * length tokens, rows one after another.
struct ModelInput {
  Tensor tokens;  // i32 [T]
  Tensor labels;  // i32 [T], -1 where there is none; undefined when only logits are wanted
  BlockInput block;
};

struct ModelLoss {
  Var total;                           // [1]: what backward starts from
  Var cross_entropy;                   // [1]: `label_scale` * sum over labels, with the z-loss
  Var token_nll;                       // [T]: nats, 0 without label
  std::vector<RoutingReport> routing;  // of the layers with experts, in order
};

class Transformer {
 public:
  // Allocates parameters and gradients (zero); Initialize or a checkpoint fills the parameters.
  Transformer(const ModelConfig& config, int64_t vocab_size, const TensorOptions& options);
  Transformer(const Transformer&) = delete;

  // Draws every parameter from (seed, name, element index): the same for any layout.
  void Initialize(uint64_t seed);

  // x [T, C] after the final norm.
  Var Hidden(Tape& tape, const ModelInput& input, std::vector<RoutingReport>* routing);
  // label_scale: 1 / labels of the global batch.
  ModelLoss Loss(Tape& tape, const ModelInput& input, double label_scale);

  // Logits [T, V] of T new tokens of one sequence, whose earlier keys and values are in `caches`
  // (from MakeCaches); or of whole documents without caches. Records nothing.
  Tensor Logits(const ModelInput& input, std::vector<KvCache>* caches);
  std::vector<KvCache> MakeCaches(int64_t capacity) const;

  std::span<const ParameterList::Entry> parameters() const { return list_.entries; }
  const Parameter& head() const { return head_ ? *head_ : embedding_; }
  // Layers with experts, in order.
  std::span<MixtureOfExperts* const> experts() const { return experts_; }
  const ModelConfig& config() const { return config_; }
  int64_t vocab_size() const { return vocab_size_; }

 private:
  struct Block {
    Parameter attention_norm, ffn_norm;  // [C]
    Attention attention;
    std::optional<FeedForward> dense;
    std::optional<MixtureOfExperts> experts;
  };
  Var Run(Tape& tape, const ModelInput& input, std::vector<RoutingReport>* routing,
          std::vector<KvCache>* caches);

  ModelConfig config_;
  int64_t vocab_size_;
  ParameterList list_;
  RotaryTable rotary_;
  Parameter embedding_;  // [V, C]
  std::vector<std::unique_ptr<Block>> blocks_;
  Parameter final_norm_;           // [C]
  std::optional<Parameter> head_;  // [V, C]; absent when tied
  std::vector<MixtureOfExperts*> experts_;
};

}  // namespace choir
