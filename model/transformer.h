// A decoder-only transformer: embedding, blocks of attention and feed-forward (dense or mixture of
// experts), final norm and output head. Pre-norm; every norm is fused with the residual addition
// before it.
//
// A Transformer holds the parameters of this rank: its part of each (layers.h), and of the layers
// only those of its pipeline stages. One rank without stages has the whole model.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "model/layers.h"
#include "parallel/pipeline/stage_layers.h"

namespace choir {

// One microbatch. A and T as in BlockInput; on one rank both are rows * length tokens, rows one
// after another.
struct ModelInput {
  Tensor tokens;  // i32 [A]
  Tensor labels;  // i32 [A], -1 where there is none; undefined when only logits are wanted
  BlockInput block;
};

// What one stage makes of a microbatch.
struct StageOutput {
  Var hidden;         // [T, C]: the input of the next stage; undefined after the last
  Var total;          // [1]: losses of this stage, from which backward starts; may be undefined
  Var cross_entropy;  // [1]: `label_scale` * sum over labels, with the z-loss; last stage only
  Var token_nll;      // [A]: nats, 0 without label; last stage only
  std::vector<RoutingReport> routing;  // of the stage's layers with experts, in order
};
using ModelLoss = StageOutput;

class Transformer {
 public:
  // The whole model on one rank. Allocates parameters and gradients (zero); Initialize or a
  // checkpoint fills the parameters.
  Transformer(const ModelConfig& config, int64_t vocab_size, const TensorOptions& options);
  // This rank's part of the model's `stages` that are listed in `mine`, ascending. `place` outlives
  // this.
  struct Part {
    const Place* place = nullptr;
    std::vector<StageLayers> stages;  // of the whole model
    std::vector<int> mine;
    // What is allocated of each parameter; null: value and gradient.
    std::function<ParameterStorage(const Placement&)> storage = nullptr;
    // How values are kept (ParameterList::stored); null: in the dtype of the options.
    std::function<DType(const std::string& name, const Shape& whole)> stored = nullptr;
  };
  Transformer(const ModelConfig& config, int64_t vocab_size, const TensorOptions& options,
              Part part);
  Transformer(const Transformer&) = delete;

  // Draws every parameter from (seed, name, index in the whole tensor): the same for any layout.
  // Leaves out those that are kept in shards: DrawInitial.
  void Initialize(uint64_t seed);

  // Parameters by use (Tape::SetUnit, ParameterList::Entry::units): the embedding, each layer by
  // itself, final norm and head. Those of a stage are first to last.
  struct UnitRange {
    int first, last;
  };
  static constexpr int kEmbeddingUnit = 0;
  int HeadUnit() const { return config_.layers + 1; }
  UnitRange UnitsOf(int stage) const;

  // Runs stage `stage`. `hidden` is the output of the stage before it; undefined for the first.
  // label_scale: 1 / labels of the global batch.
  StageOutput RunStage(Tape& tape, int stage, const Var& hidden, const ModelInput& input,
                       double label_scale);
  // The whole model at once, where this rank has all stages.
  ModelLoss Loss(Tape& tape, const ModelInput& input, double label_scale);

  // x [T, C] after the final norm.
  Var Hidden(Tape& tape, const ModelInput& input, std::vector<RoutingReport>* routing);
  // Logits [T, V] of T new tokens of one sequence, whose earlier keys and values are in `caches`
  // (from MakeCaches); or of whole documents without caches. Records nothing. One rank only.
  Tensor Logits(const ModelInput& input, std::vector<KvCache>* caches);
  std::vector<KvCache> MakeCaches(int64_t capacity) const;

  // All of this rank's. Includes a tied head only where the embedding is on another rank.
  std::span<const ParameterList::Entry> parameters() const { return list_.entries; }
  // With stages or invariant numerics, the two uses of a tied table are parameters of one name
  // whose gradients are summed apart, so that they may be on different stages; they share their
  // value where both are here. Null if there is none here, or the embedding serves as both.
  const Parameter* tied_head() const { return config_.tie_embeddings && head_ ? &*head_ : nullptr; }
  Parameter* tied_head() { return config_.tie_embeddings && head_ ? &*head_ : nullptr; }
  Parameter* embedding() { return embedding_ ? &*embedding_ : nullptr; }
  const Parameter& head() const { return head_ ? *head_ : *embedding_; }
  // This rank's layers with experts, in order.
  std::span<MixtureOfExperts* const> experts() const { return experts_; }
  // The place of a layer with experts among those of the whole model.
  int expert_layer(int layer) const { return layer - config_.moe.dense_layers; }

  const ModelConfig& config() const { return config_; }
  int64_t vocab_size() const { return vocab_size_; }
  int num_stages() const { return static_cast<int>(part_.stages.size()); }
  // Stages of this rank.
  std::span<const int> stages() const { return part_.mine; }
  const Place& place() const { return *part_.place; }
  // Sets what every parameter's products round their operands to, by name and whole shape.
  void SetMatmulPrecision(
      const std::function<MatmulPrecision(const std::string& name, const Shape& whole)>& precision);
  // What results inside of blocks are rounded to (Tape::SetRounding); kF32, as at first: nothing.
  void SetActivationFormat(DType format) { activations_ = format; }

 private:
  struct Block {
    Parameter attention_norm, ffn_norm;  // [C]
    Attention attention;
    std::optional<FeedForward> dense;
    std::optional<MixtureOfExperts> experts;
  };
  // What runs from block to block: the stream, and what the last part adds to it.
  struct Residual {
    Var stream, delta;
  };
  void MakeBlock(int layer);
  // The stream with what the last part adds to it, tagged `sum_tag`, and normalised.
  Var Normed(Tape& tape, Residual& residual, Parameter& norm,
             const Tag& sum_tag = "residual") const;
  Residual Embed(Tape& tape, const ModelInput& input);
  void RunLayers(Tape& tape, StageLayers layers, Residual& residual, const ModelInput& input,
                 std::vector<RoutingReport>* routing, std::vector<KvCache>* caches);
  void AddHead(Tape& tape, Residual& residual, const ModelInput& input, double label_scale,
               StageOutput& output);

  ModelConfig config_;
  int64_t vocab_size_;
  Part part_;
  ParameterList list_;
  RotaryTable rotary_;
  std::optional<Parameter> embedding_;          // [V, C]
  std::vector<std::unique_ptr<Block>> blocks_;  // by layer; null where another rank has it
  std::optional<Parameter> final_norm_;         // [C]
  std::optional<Parameter> head_;               // [V, C]; none: the embedding serves
  std::vector<MixtureOfExperts*> experts_;
  DType activations_ = DType::kF32;
};

// Draws elements [begin, begin + out.NumElements()) of this rank's part of a parameter, flattened.
void DrawInitial(const ParameterList::Entry& entry, const Place& place, uint64_t seed,
                 int64_t begin, const Tensor& out);

}  // namespace choir
