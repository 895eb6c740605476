// What step_bench trains: the two models, their data, and Choir's training step.
#pragma once

#include <chrono>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "model/transformer.h"
#include "nlohmann/json.hpp"
#include "ops/elementwise.h"
#include "optim/clip.h"
#include "optim/optimizer.h"

namespace choir {

using Json = nlohmann::json;

inline constexpr int64_t kVocab = 8192, kRows = 8, kLength = 512, kTokens = kRows * kLength;
inline constexpr uint64_t kSeed = 1;

struct Case {
  std::string name;
  ModelConfig model;
  double target_share, target_speed;  // of the SGEMM rate; in multiples of PyTorch's
};

inline Case DenseCase() {
  ModelConfig model;
  model.layers = 8;
  model.hidden = 384;
  model.heads = 6;
  model.ffn = 1024;
  return {"dense", model, 0.70, 1.3};
}

inline Case MoeCase() {
  ModelConfig model = DenseCase().model;
  model.layers = 6;
  model.moe.experts = 64;
  model.moe.width = 128;
  model.moe.top_k = 6;
  model.moe.shared_experts = 1;
  model.moe.dense_layers = 1;
  model.moe.bias_speed = 0.001;
  model.moe.sequence_loss = 1e-4;
  return {"moe", model, 0.55, 2.0};
}

inline OptimConfig Optim() {
  OptimConfig optim;
  optim.lr = 1e-3;
  return optim;
}

inline double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Bytes of a line of /proc/self/status: "VmRSS:" (now), "VmHWM:" (highest).
inline int64_t ProcessMemory(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    int64_t kibibytes = 0;
    if (word == key && status >> kibibytes) return kibibytes * 1024;
  }
  CHECK(false) << "/proc/self/status has no " << key;
  return 0;
}

inline std::vector<int32_t> DrawTokens() {
  const CounterRandom random(kSeed, "bench/tokens");
  std::vector<int32_t> tokens;
  for (uint64_t i = 0; i < kRows * (kLength + 1); ++i) {
    tokens.push_back(static_cast<int32_t>(random.Below(i, kVocab)));
  }
  return tokens;
}

// Whole rows as documents; the label of a token is the next one.
inline ModelInput MakeInput(const std::vector<int32_t>& tokens) {
  const TensorOptions i32{DType::kI32, Device::kCpu};
  ModelInput input;
  input.tokens = Tensor::Empty({kTokens}, i32);
  input.labels = Tensor::Empty({kTokens}, i32);
  input.block.positions = Tensor::Empty({kTokens}, i32);
  input.block.valid = Tensor::Empty({kTokens}, {DType::kF32, Device::kCpu});
  input.block.rows = kRows;
  std::fill_n(input.block.valid.data<float>(), kTokens, 1.0f);
  auto bounds = std::make_shared<std::vector<int32_t>>();
  for (int64_t row = 0; row <= kRows; ++row) {
    bounds->push_back(static_cast<int32_t>(row * kLength));
  }
  input.block.boundaries = std::move(bounds);
  for (int64_t i = 0; i < kTokens; ++i) {
    const int64_t row = i / kLength, column = i % kLength;
    const int32_t* const token = &tokens[static_cast<size_t>(row * (kLength + 1) + column)];
    input.tokens.data<int32_t>()[i] = token[0];
    input.labels.data<int32_t>()[i] = token[1];
    input.block.positions.data<int32_t>()[i] = static_cast<int32_t>(column);
  }
  return input;
}

// What PyTorch starts from: a line of JSON, the tokens, the parameters.
inline void WriteStart(const std::string& path, const Case& c, const Transformer& model,
                       const std::vector<int32_t>& tokens) {
  const ModelConfig& m = c.model;
  const OptimConfig optim = Optim();
  Json header = {{"vocab", kVocab},
                 {"rows", kRows},
                 {"length", kLength},
                 {"layers", m.layers},
                 {"hidden", m.hidden},
                 {"heads", m.heads},
                 {"ffn", m.ffn},
                 {"norm_eps", m.norm_eps},
                 {"rotary_base", m.rotary.base},
                 {"experts", m.moe.experts},
                 {"width", m.moe.width},
                 {"top_k", m.moe.top_k},
                 {"dense_layers", m.moe.dense_layers},
                 {"bias_speed", m.moe.bias_speed},
                 {"sequence_loss", m.moe.sequence_loss},
                 {"optim",
                  {{"lr", optim.lr},
                   {"beta1", optim.beta1},
                   {"beta2", optim.beta2},
                   {"eps", optim.eps},
                   {"weight_decay", optim.weight_decay},
                   {"clip_norm", *optim.clip_norm}}}};
  for (const auto& entry : model.parameters()) {
    const Tensor& value = entry.parameter->value;
    // PyTorch wants the outermost dims that are fused as they are, the rest as a matrix.
    Json shape = value.shape().dims();
    if (entry.parameter->name.ends_with(".qkv")) shape = {m.heads, 3, m.HeadDim(), m.hidden};
    header["tensors"].push_back({entry.parameter->name, shape});
  }
  std::ofstream file(path, std::ios::binary);
  file << header.dump() << '\n';
  auto write = [&](const void* data, int64_t bytes) {
    file.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
  };
  write(tokens.data(), static_cast<int64_t>(tokens.size() * sizeof(int32_t)));
  for (const auto& entry : model.parameters()) {
    write(entry.parameter->value.raw(), entry.parameter->value.bytes());
  }
  file.flush();
  CHECK(file.good()) << "cannot write " << path;
}

class ChoirSide {
 public:
  ChoirSide(const Case& c, const std::string& start_file)
      : memory_before_(ProcessMemory("VmRSS:")),
        model_(c.model, kVocab, {DType::kF32, Device::kCpu}),
        parameters_(Pointers(model_)),
        optimizer_(Optim(), WholeTargets(parameters_)) {
    const std::vector<int32_t> tokens = DrawTokens();
    input_ = MakeInput(tokens);
    model_.Initialize(kSeed);
    WriteStart(start_file, c, model_, tokens);
  }

  Json Step() {
    const double start = Now();
    for (const Parameter* p : parameters_) p->grad.Zero();
    Tape tape;
    ModelLoss loss = model_.Loss(tape, input_, 1.0 / kTokens);
    const double forward = Now();
    tape.RunBackward(loss.total, ScalarTensor(1, loss.total.tensor().options()));
    const double backward = Now();
    const double norm = GlobalGradNorm(parameters_);
    const OptimConfig optim = Optim();
    optimizer_.Step({optim.lr, ClipScale(norm, optim.clip_norm)});
    for (size_t i = 0; i < model_.experts().size(); ++i) {
      model_.experts()[i]->UpdateBias(loss.routing[i].expert_tokens);
    }
    const double end = Now();
    return {{"seconds", end - start},
            {"forward", forward - start},
            {"backward", backward - forward},
            {"update", end - backward},
            {"grad_norm", norm},
            {"loss", ScalarValue(loss.cross_entropy.tensor())}};
  }

  Json Memory() const {
    return {{"peak", ProcessMemory("VmHWM:") - memory_before_},
            {"ledger", CurrentLedger(Device::kCpu).PeakTotal()}};
  }

 private:
  static std::vector<Parameter*> Pointers(const Transformer& model) {
    std::vector<Parameter*> parameters;
    for (const auto& entry : model.parameters()) parameters.push_back(entry.parameter);
    return parameters;
  }

  int64_t memory_before_;  // declared first: measured before the model is made
  Transformer model_;
  std::vector<Parameter*> parameters_;
  Optimizer optimizer_;
  ModelInput input_;
};

}  // namespace choir
