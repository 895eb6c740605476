// Small models and batches for the tests of whole models.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "model/transformer.h"
#include "ops/elementwise.h"
#include "tensor/tolerance.h"

namespace choir::testing_model {

// Grouped queries, heads that do not fill the hidden width, sizes that are no multiples of 16.
inline ModelConfig DenseConfig() {
  ModelConfig config;
  config.layers = 3;
  config.hidden = 24;
  config.heads = 6;
  config.kv_heads = 2;
  config.head_dim = 8;
  config.ffn = 40;
  config.qk_norm = true;
  config.tie_embeddings = true;
  config.z_loss = 1e-3;
  config.init_std = 0.2;
  return config;
}

// The first layer dense; shared and routed experts, balanced by bias and by a loss.
inline ModelConfig MoeModelConfig() {
  ModelConfig config = DenseConfig();
  config.qk_norm = false;
  config.tie_embeddings = false;
  config.moe.experts = 9;
  config.moe.top_k = 3;
  config.moe.width = 10;
  config.moe.shared_experts = 1;
  config.moe.dense_layers = 1;
  config.moe.route_scale = 2.5;
  config.moe.bias_speed = 0.01;
  config.moe.sequence_loss = 0.02;
  return config;
}

inline constexpr int64_t kVocab = 83;

// A microbatch on the host.
struct TestBatch {
  std::vector<int32_t> tokens, labels, positions, boundaries{0};
  int64_t rows = 1;

  int64_t NumTokens() const { return static_cast<int64_t>(tokens.size()); }
  int64_t NumLabels() const {
    int64_t n = 0;
    for (int32_t label : labels) n += label >= 0;
    return n;
  }
  // Appends a document of random tokens; padding has no labels.
  void AddDocument(int64_t length, uint64_t seed, bool padding = false) {
    const CounterRandom random(seed, "document");
    for (int64_t i = 0; i < length; ++i) {
      const auto at = static_cast<uint64_t>(i);
      tokens.push_back(padding ? 0 : static_cast<int32_t>(random.Below(at, kVocab)));
      labels.push_back(padding ? -1 : static_cast<int32_t>(random.Below(at + 1, kVocab)));
      positions.push_back(static_cast<int32_t>(i));
    }
    boundaries.push_back(static_cast<int32_t>(tokens.size()));
  }
};

// `rows` rows of 37 tokens, each three documents and, if asked, padding.
inline TestBatch PackedRows(int64_t rows, bool padded) {
  TestBatch batch;
  batch.rows = rows;
  for (int64_t r = 0; r < rows; ++r) {
    const auto seed = static_cast<uint64_t>(10 * r);
    batch.AddDocument(11 + r, seed);
    batch.AddDocument(1, seed + 1);
    batch.AddDocument(20 - r, seed + 2);
    batch.AddDocument(5, seed + 3, padded);
  }
  return batch;
}

inline Tensor ToTensor(const std::vector<int32_t>& values, Device device) {
  const Shape shape{static_cast<int64_t>(values.size())};
  const TensorOptions options{DType::kI32, device, MemoryCategory::kWorkspace};
  Tensor t = Tensor::Empty(shape, options);
  if (device != Device::kMeta) std::copy(values.begin(), values.end(), t.data<int32_t>());
  return t;
}

inline ModelInput ToInput(const TestBatch& batch, Device device = Device::kCpu) {
  ModelInput input;
  input.tokens = ToTensor(batch.tokens, device);
  input.labels = ToTensor(batch.labels, device);
  input.block.positions = ToTensor(batch.positions, device);
  input.block.boundaries = std::make_shared<std::vector<int32_t>>(batch.boundaries);
  input.block.rows = batch.rows;
  input.block.valid =
      Tensor::Empty(input.labels.shape(), {DType::kF32, device, MemoryCategory::kWorkspace});
  if (device != Device::kMeta) {
    for (size_t i = 0; i < batch.labels.size(); ++i) {
      input.block.valid.data<float>()[i] = batch.labels[i] >= 0;
    }
  }
  return input;
}

inline std::vector<double> ToDoubles(const Tensor& t) {
  std::vector<double> values;
  DispatchFloat(t.dtype(),
                [&]<class T>() { values.assign(t.data<T>(), t.data<T>() + t.NumElements()); });
  return values;
}

inline bool SameBits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
}

inline double MaxMagnitude(const std::vector<double>& values) {
  double max = 0;
  for (double v : values) max = std::max(max, std::abs(v));
  return max;
}

// Largest difference, NaN if any is.
inline double MaxDifference(const std::vector<double>& a, const std::vector<double>& b) {
  CHECK(a.size() == b.size());
  double max = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(a[i] - b[i]);
    if (!(d <= max)) max = d;
  }
  return max;
}

// How far two computations of a model's logits or losses may lie apart, relative to the largest.
// A block rounds in ten places one after another: norm, qkv, rotary, scores, weighted values,
// output, and norm, (router,) gate and up, SwiGLU, down; embedding, last norm and head add two.
// Each adds its ErrorBound for the longest sum of the model, and hands on what came before without
// enlarging it, because norms fix the scale.
inline double ForwardBound(const ModelConfig& config, DType dtype, int64_t tokens) {
  int64_t longest = std::max<int64_t>(tokens, config.hidden);
  longest = std::max<int64_t>(longest, config.heads * config.HeadDim());
  longest = std::max<int64_t>(longest, std::max(config.ffn, config.moe.width));
  return (10 * config.layers + 2) * ErrorBound(dtype, longest);
}
// The same for gradients: they pass forward, then as many places backward, and each of those
// multiplies by two things that were rounded before (the incoming gradient and a saved value).
// Weight gradients sum over tokens, those of head norms over the heads of all tokens.
inline double BackwardBound(const ModelConfig& config, DType dtype, int64_t tokens) {
  return 3 * ForwardBound(config, dtype, tokens * config.heads);
}

// Forward and backward of one microbatch.
struct StepOptions {
  double label_scale;  // 1 / labels of the global batch
  RecomputePolicy policy;
  bool keep_gradients = false;  // do not zero them first
};
inline ModelLoss RunStep(Transformer& model, Tape& tape, const ModelInput& input,
                         const StepOptions& options) {
  if (!options.keep_gradients) {
    for (const auto& entry : model.parameters()) entry.parameter->grad.Zero();
  }
  tape.SetRecomputePolicy(options.policy);
  ModelLoss loss = model.Loss(tape, input, options.label_scale);
  tape.RunBackward(loss.total, ScalarTensor(1, loss.total.tensor().options()));
  return loss;
}

}  // namespace choir::testing_model
