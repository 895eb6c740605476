#include "model/transformer.h"

#include "base/random.h"
#include "ops/cross_entropy.h"
#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/parallel_for.h"
#include "ops/rms_norm.h"

namespace choir {

Transformer::Transformer(const ModelConfig& config, int64_t vocab_size,
                         const TensorOptions& options)
    : config_(config), vocab_size_(vocab_size), rotary_(config.Rotary()) {
  list_.options = options;
  list_.Make(embedding_, "embedding", {vocab_size, config.hidden}, {config.init_std});
  for (int i = 0; i < config.layers; ++i) {
    auto& block = *blocks_.emplace_back(std::make_unique<Block>());
    const std::string prefix = "layers." + std::to_string(i) + ".";
    list_.Make(block.attention_norm, prefix + "attention_norm", {config.hidden}, {.ones = true});
    block.attention.Make(list_, prefix + "attention.", config);
    block.attention.rotary = &rotary_;
    list_.Make(block.ffn_norm, prefix + "ffn_norm", {config.hidden}, {.ones = true});
    if (config.IsMoeLayer(i)) {
      block.experts.emplace().Make(list_, prefix + "moe.", config);
      experts_.push_back(&*block.experts);
    } else {
      block.dense.emplace().Make(list_, prefix + "ffn.", config, config.ffn);
    }
  }
  list_.Make(final_norm_, "final_norm", {config.hidden}, {.ones = true});
  if (!config.tie_embeddings) {
    list_.Make(head_.emplace(), "head", {vocab_size, config.hidden}, {config.init_std});
  }
}

void Transformer::Initialize(uint64_t seed) {
  for (const auto& [parameter, init] : list_.entries) {
    if (parameter->value.device() == Device::kMeta) continue;
    const CounterRandom random(seed, "init/" + parameter->name);
    DispatchFloat(parameter->value.dtype(), [&, init = init, parameter = parameter]<class T>() {
      T* p = parameter->value.data<T>();
      ParallelRanges(
          parameter->value.NumElements(), kElementGrain, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) {
              p[i] = static_cast<T>(init.ones ? 1
                                              : init.std * random.Normal(static_cast<uint64_t>(i)));
            }
          });
    });
  }
}

Var Transformer::Run(Tape& tape, const ModelInput& input, std::vector<RoutingReport>* routing,
                     std::vector<KvCache>* caches) {
  const double eps = config_.norm_eps;
  Var stream = Embedding(tape, input.tokens, embedding_);
  Var delta;  // what the previous part adds to the stream
  for (size_t i = 0; i < blocks_.size(); ++i) {
    Block& block = *blocks_[i];
    tape.SetLayer(static_cast<int>(i));
    auto normed = [&](Parameter& norm) {
      if (!delta.defined()) return RmsNorm(tape, stream, norm, eps);
      AddNormResult r = AddRmsNorm(tape, stream, delta, norm, eps);
      stream = std::move(r.sum);
      return std::move(r.normed);
    };
    KvCache* cache = caches != nullptr ? &(*caches)[i] : nullptr;
    delta = block.attention.Forward(tape, normed(block.attention_norm), input.block, cache);
    const Var x = normed(block.ffn_norm);
    if (block.dense) {
      delta = block.dense->Forward(tape, x);
    } else {
      RoutingReport report;
      delta = block.experts->Forward(tape, x, input.block, report);
      if (routing != nullptr) routing->push_back(std::move(report));
    }
  }
  tape.SetLayer(-1);
  return AddRmsNorm(tape, stream, delta, final_norm_, eps).normed;
}

Var Transformer::Hidden(Tape& tape, const ModelInput& input, std::vector<RoutingReport>* routing) {
  return Run(tape, input, routing, nullptr);
}

ModelLoss Transformer::Loss(Tape& tape, const ModelInput& input, double label_scale) {
  ModelLoss loss;
  CrossEntropyResult result;
  {
    const Var hidden = Run(tape, input, &loss.routing, nullptr);
    result = CrossEntropy(tape, hidden, head_ ? *head_ : embedding_, input.labels, label_scale,
                          {.z_loss = config_.z_loss});
  }
  loss.cross_entropy = result.loss;
  loss.token_nll = result.token_nll;
  loss.total = result.loss;
  for (const RoutingReport& report : loss.routing) {
    for (const Var& term : report.losses) loss.total = Add(tape, loss.total, term);
  }
  return loss;
}

Tensor Transformer::Logits(const ModelInput& input, std::vector<KvCache>* caches) {
  Tape tape(/*recording=*/false);
  return choir::Logits(Run(tape, input, nullptr, caches).tensor(), head());
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
