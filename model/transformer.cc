#include "model/transformer.h"

#include <algorithm>

#include "base/fault.h"
#include "base/random.h"
#include "ops/cross_entropy.h"
#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/parallel_for.h"
#include "ops/rms_norm.h"

namespace choir {
namespace {

Transformer::Part WholeModel(const ModelConfig& config) {
  static const Place& alone = *new Place;
  return {&alone, {{0, config.layers, /*embedding=*/true, /*head=*/true}}, {0}, nullptr};
}

template <class T>
void Draw(const ParameterList::Entry& entry, const Place& place, const CounterRandom& random,
          int64_t first, const Tensor& out) {
  const ParameterInit& init = entry.init;
  const Placement& placement = entry.placement;
  const Slice slice = LocalSlice(placement.shape, placement.layout, place.mesh(), place.rank());
  const bool part = slice.count != placement.shape;
  const bool by_part = part && !init.ones && Injected(Fault::kInitByLocalIndex);
  T* p = out.data<T>();
  ParallelRanges(out.NumElements(), kElementGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = first + i;
      const auto index =
          static_cast<uint64_t>(by_part ? at : GlobalIndex(placement.shape, slice, at));
      p[i] = static_cast<T>(init.ones ? 1 : init.std * random.Normal(index));
    }
  });
}

}  // namespace

void DrawInitial(const ParameterList::Entry& entry, const Place& place, uint64_t seed,
                 int64_t begin, const Tensor& out) {
  const CounterRandom random(seed, "init/" + entry.parameter->name);
  const DType wide = ComputeDType(out.dtype());
  Tensor drawn = out;
  if (wide != out.dtype()) {
    drawn = Tensor::Empty(out.shape(), {wide, out.device(), MemoryCategory::kWorkspace});
  }
  DispatchFloat(wide, [&]<class T>() { Draw<T>(entry, place, random, begin, drawn); });
  if (wide != out.dtype()) ConvertInto(out, drawn);
}

Transformer::Transformer(const ModelConfig& config, int64_t vocab_size,
                         const TensorOptions& options)
    : Transformer(config, vocab_size, options, WholeModel(config)) {}

Transformer::Transformer(const ModelConfig& config, int64_t vocab_size,
                         const TensorOptions& options, Part part)
    : config_(config), vocab_size_(vocab_size), part_(std::move(part)), rotary_(config.Rotary()) {
  CHECK(!part_.mine.empty() && !part_.stages.empty());
  list_.options = options;
  list_.place = part_.place;
  list_.storage = part_.storage;
  list_.stored = part_.stored;
  blocks_.resize(static_cast<size_t>(config.layers));
  const Placement table{{vocab_size, config.hidden}, Layout::Split(0, Axis::kTensor)};
  const Matrices rows{{{"rc"}}, /*table=*/true};
  if (part_.mine.front() == 0) {
    list_.Make(embedding_.emplace(), "embedding", table, {config.init_std}, rows);
  }
  for (int stage : part_.mine) {
    const StageLayers layers = part_.stages[static_cast<size_t>(stage)];
    for (int i = layers.begin; i < layers.end; ++i) MakeBlock(i);
  }
  if (part_.mine.back() != num_stages() - 1) return;
  list_.unit = HeadUnit();
  list_.Make(final_norm_.emplace(), "final_norm", {{config.hidden}, {}}, {.ones = true});
  if (config.tie_embeddings && embedding_) list_.entries.front().units.push_back(HeadUnit());
  const bool apart = num_stages() > 1 || place().invariant();
  if (config.tie_embeddings && !apart) return;
  list_.Make(head_.emplace(), config.tie_embeddings ? "embedding" : "head", table,
             {config.init_std}, rows);
  if (config.tie_embeddings && embedding_) {
    head_->value = embedding_->value;
    head_->sharded = embedding_->sharded;
    list_.entries.pop_back();
  }
}

void Transformer::MakeBlock(int layer) {
  auto& slot = blocks_[static_cast<size_t>(layer)];
  CHECK(slot == nullptr) << "layer " << layer << " is in two stages";
  Block& block = *(slot = std::make_unique<Block>());
  list_.unit = layer + 1;
  const std::string prefix = "layers." + std::to_string(layer) + ".";
  const Placement norm{{config_.hidden}, {}};
  list_.Make(block.attention_norm, prefix + "attention_norm", norm, {.ones = true});
  block.attention.Make(list_, prefix + "attention.", config_);
  block.attention.rotary = &rotary_;
  list_.Make(block.ffn_norm, prefix + "ffn_norm", norm, {.ones = true});
  if (config_.IsMoeLayer(layer)) {
    block.experts.emplace().Make(list_, prefix + "moe.", config_);
    block.experts->layer = layer;
    experts_.push_back(&*block.experts);
  } else {
    block.dense.emplace().Make(list_, prefix + "ffn.", config_, config_.ffn);
  }
}

void Transformer::SetMatmulPrecision(
    const std::function<MatmulPrecision(const std::string& name, const Shape& whole)>& precision) {
  for (const ParameterList::Entry& entry : list_.entries) {
    entry.parameter->matmul = precision(entry.parameter->name, entry.placement.shape);
  }
  // A tied head of its own is no entry where the embedding is here too.
  if (tied_head() != nullptr && embedding_) head_->matmul = embedding_->matmul;
}

void Transformer::Initialize(uint64_t seed) {
  for (const ParameterList::Entry& entry : list_.entries) {
    const Tensor& value = entry.parameter->value;
    if (value.defined() && value.device() != Device::kMeta) {
      DrawInitial(entry, place(), seed, 0, value);
    }
  }
}

Transformer::UnitRange Transformer::UnitsOf(int stage) const {
  const StageLayers& layers = part_.stages[static_cast<size_t>(stage)];
  return {stage == 0 ? kEmbeddingUnit : layers.begin + 1,
          stage == num_stages() - 1 ? HeadUnit() : layers.end};
}

Transformer::Residual Transformer::Embed(Tape& tape, const ModelInput& input) {
  tape.SetUnit(kEmbeddingUnit);
  tape.SetRows(input.block.tokens.context_leaves);
  const Slice rows = LocalSlice({vocab_size_, config_.hidden}, Layout::Split(0, Axis::kTensor),
                                place().mesh(), place().rank());
  int64_t first_row = rows.start.dim(0);
  if (first_row > 0 && Injected(Fault::kEmbeddingRowsFromZero)) first_row = 0;
  const Var found = Embedding(tape, input.tokens, *embedding_,
                              {.first_row = first_row, .vocabulary = vocab_size_});
  return {SumTokens(tape, found, input.block, place()), {}};
}

Var Transformer::Normed(Tape& tape, Residual& residual, Parameter& norm, const Tag& sum_tag) const {
  AddNormResult r = AddRmsNorm(tape, residual.stream, residual.delta, norm,
                               {.eps = config_.norm_eps, .sum_tag = sum_tag});
  residual.stream = std::move(r.sum);
  return std::move(r.normed);
}

void Transformer::RunLayers(Tape& tape, StageLayers layers, Residual& residual,
                            const ModelInput& input, std::vector<RoutingReport>* routing,
                            std::vector<KvCache>* caches) {
  for (int layer = layers.begin; layer < layers.end; ++layer) {
    Block& block = *blocks_[static_cast<size_t>(layer)];
    tape.SetLayer(layer);
    tape.SetUnit(layer + 1);
    KvCache* cache = caches != nullptr ? &(*caches)[static_cast<size_t>(layer)] : nullptr;
    residual.delta = block.attention.Forward(tape, Normed(tape, residual, block.attention_norm),
                                             input.block, cache);
    const Var x = Normed(tape, residual, block.ffn_norm, "residual.mid");
    if (block.dense) {
      residual.delta = block.dense->Forward(tape, x, input.block);
    } else {
      RoutingReport report{.layer = layer};
      residual.delta = block.experts->Forward(tape, x, input.block, report);
      if (routing != nullptr) routing->push_back(std::move(report));
    }
  }
  tape.SetLayer(-1);
}

void Transformer::AddHead(Tape& tape, Residual& residual, const ModelInput& input,
                          double label_scale, StageOutput& output) {
  Var all;
  tape.SetUnit(HeadUnit());
  {
    const Var normed = Normed(tape, residual, *final_norm_);
    residual = Residual();
    all = GatherTokens(tape, normed, input.block, place());
  }
  const Slice rows = LocalSlice({vocab_size_, config_.hidden}, Layout::Split(0, Axis::kTensor),
                                place().mesh(), place().rank());
  int64_t first_row = rows.start.dim(0);
  if (first_row > 0 && Injected(Fault::kLabelLogitTwice)) first_row = 0;
  CrossEntropyResult result =
      CrossEntropy(tape, all, head_ ? *head_ : *embedding_, input.labels, label_scale,
                   {.z_loss = config_.z_loss,
                    .first_row = first_row,
                    .vocabulary = vocab_size_,
                    .vocabulary_group = place().Ranks(Axis::kTensor),
                    .vocabulary_pieces = PiecesOf(place(), Axis::kTensor, vocab_size_, 1)});
  output.cross_entropy = result.loss;
  output.total = result.loss;
  output.token_nll = result.token_nll;
}

StageOutput Transformer::RunStage(Tape& tape, int stage, const Var& hidden, const ModelInput& input,
                                  double label_scale) {
  tape.SetNumerics(place().numerics());
  tape.SetRounding(activations_);
  const bool last = stage == num_stages() - 1;
  StageOutput output;
  {
    Residual residual;
    if (stage == 0) {
      residual = Embed(tape, input);
    } else {
      residual.stream = hidden;
      tape.SetRows(input.block.tokens.local_leaves);
    }
    RunLayers(tape, part_.stages[static_cast<size_t>(stage)], residual, input, &output.routing,
              nullptr);
    if (last) {
      AddHead(tape, residual, input, label_scale, output);
    } else {
      // The next stage's first norm would add these; a sum sent is half of two tensors sent.
      output.hidden =
          residual.delta.defined() ? Add(tape, residual.stream, residual.delta) : residual.stream;
    }
  }
  for (const RoutingReport& report : output.routing) {
    for (const Var& term : report.losses) {
      output.total = output.total.defined() ? Add(tape, output.total, term) : term;
    }
  }
  return output;
}

ModelLoss Transformer::Loss(Tape& tape, const ModelInput& input, double label_scale) {
  CHECK(num_stages() == 1) << "this rank has a part of the layers";
  return RunStage(tape, 0, Var(), input, label_scale);
}

Var Transformer::Hidden(Tape& tape, const ModelInput& input, std::vector<RoutingReport>* routing) {
  tape.SetRounding(activations_);
  Residual residual = Embed(tape, input);
  RunLayers(tape, {0, config_.layers}, residual, input, routing, nullptr);
  return Normed(tape, residual, *final_norm_);
}

Tensor Transformer::Logits(const ModelInput& input, std::vector<KvCache>* caches) {
  CHECK(place().mesh().size() == 1) << "logits are for one rank";
  Tape tape(/*recording=*/false);
  tape.SetRounding(activations_);
  Residual residual = Embed(tape, input);
  RunLayers(tape, {0, config_.layers}, residual, input, nullptr, caches);
  return choir::Logits(Normed(tape, residual, *final_norm_).tensor(), head());
}

std::vector<KvCache> Transformer::MakeCaches(int64_t capacity) const {
  std::vector<KvCache> caches;
  for (int i = 0; i < config_.layers; ++i) {
    caches.push_back(
        KvCache::Empty(capacity, config_.NumKvHeads(), config_.HeadDim(), list_.options));
  }
  return caches;
}

}  // namespace choir
