// What a recorded tape tells the solver, against what the tape does.
#include "plan/tape_to_graph.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "model/transformer.h"
#include "ops/elementwise.h"
#include "plan/recompute_cost.h"
#include "tests/ops/recompute_where.h"

namespace choir {
namespace {

ModelConfig Dense() {
  ModelConfig config;
  config.layers = 3;
  config.hidden = 64;
  config.heads = 4;
  config.ffn = 192;
  return config;
}

ModelConfig Experts() {
  ModelConfig config = Dense();
  config.moe.experts = 8;
  config.moe.top_k = 2;
  config.moe.width = 96;
  config.moe.shared_experts = 1;
  config.moe.dense_layers = 1;
  config.moe.sequence_loss = 1e-3;
  return config;
}

constexpr int64_t kRows = 2, kLength = 64, kTokens = kRows * kLength, kVocab = 500;

ModelInput Input() {
  const TensorOptions ids{DType::kI32, Device::kMeta, MemoryCategory::kWorkspace};
  ModelInput input;
  input.tokens = Tensor::Empty({kTokens}, ids);
  input.labels = Tensor::Empty({kTokens}, ids);
  input.block.positions = Tensor::Empty({kTokens}, ids);
  input.block.valid =
      Tensor::Empty({kTokens}, {DType::kF32, Device::kMeta, MemoryCategory::kWorkspace});
  input.block.rows = kRows;
  auto bounds = std::make_shared<std::vector<int32_t>>();
  for (int64_t row = 0; row <= kRows; ++row) {
    bounds->push_back(static_cast<int32_t>(row * kLength));
  }
  input.block.boundaries = std::move(bounds);
  return input;
}

struct Step {
  TapeGraph graph;
  int64_t fixed = 0, held = 0, peak = 0;  // bytes before, between the passes, and the most
  int64_t host = 0;
  int64_t replayed = 0;
};

Step RunStep(const ModelConfig& config, const RecomputePolicy& policy, bool record) {
  MemoryLedger ledger;
  Step run;
  {
    const ScopedLedger scoped(Device::kMeta, ledger);
    Transformer model(config, kVocab, {DType::kF32, Device::kMeta});
    const ModelInput input = Input();
    std::deque<TapeGraph> graphs;
    run.fixed = ledger.CurrentTotal();
    int64_t peak = 0;
    {
      std::unique_ptr<ScopedTapeRecording> recording;
      if (record) recording = std::make_unique<ScopedTapeRecording>(graphs, Device::kMeta);
      ledger.ResetPeak();
      Tape tape;
      tape.SetRecomputePolicy(policy);
      ModelLoss loss = model.Loss(tape, input, 1);
      std::vector<Var> starts{loss.total};
      const TensorOptions like = loss.total.tensor().options();
      loss = ModelLoss();
      tape.EndForward();
      run.held = ledger.CurrentTotal();
      run.host = ledger.Current(MemoryCategory::kHost);
      std::vector<Tensor> seeds;
      seeds.push_back(Tensor::Empty({1}, like));
      tape.RunBackward(std::move(starts), std::move(seeds));
      run.replayed = tape.recomputed();
      peak = ledger.PeakTotal();
    }
    run.peak = peak;
    if (record) run.graph = std::move(graphs.at(0));
  }
  return run;
}

RecomputeAction ActionOf(TensorPolicy policy) {
  return policy == TensorPolicy::kRecompute ? RecomputeAction::kRecompute
         : policy == TensorPolicy::kOffload ? RecomputeAction::kOffload
                                            : RecomputeAction::kKeep;
}

struct Policy {
  std::string name;
  RecomputePolicy policy;
};

std::vector<Policy> Policies() {
  const auto drops = [](std::string name, auto predicate) {
    return Policy{std::move(name), RecomputeWhere(predicate)};
  };
  return {
      drops("none", [](std::string_view, int) { return false; }),
      drops("norm", [](std::string_view tag, int) { return tag == "norm"; }),
      drops("cheap",
            [](std::string_view tag, int layer) {
              return layer >= 0 && (tag == "norm" || tag.ends_with("swiglu") || tag == "permute");
            }),
      drops("full",
            [](std::string_view tag, int layer) { return layer >= 0 && tag != "residual"; }),
      {"offload",
       [](std::string_view tag, int layer) {
         return layer >= 0 && tag != "norm" ? TensorPolicy::kOffload : TensorPolicy::kDefault;
       }},
      {"both",
       [](std::string_view tag, int layer) {
         if (layer < 0 || tag == "residual") return TensorPolicy::kDefault;
         return layer == 1 ? TensorPolicy::kOffload : TensorPolicy::kRecompute;
       }},
      drops("attention of layer 1",
            [](std::string_view tag, int layer) { return layer == 1 && tag.starts_with("att"); }),
  };
}

RecomputeCost Predict(const Step& recorded, const RecomputePolicy& policy) {
  RecomputeGraph graph = ToRecomputeGraph(
      recorded.graph,
      {.offload_seconds = [](int64_t) { return 1.0; }, .fixed_bytes = recorded.fixed});
  RecomputeChoice choice;
  for (const RecomputeTensor& t : graph.tensors) {
    const bool asked = t.kernel >= 0 && !t.decision && !t.tag.empty();
    choice.push_back(asked ? ActionOf(policy(t.tag, t.layer)) : RecomputeAction::kKeep);
  }
  return Evaluate(graph, choice);
}

// The recorded graph foretells the bytes that other policies take.
TEST(TapeToGraph, ForetellsBytesOfOtherPolicies) {
  for (const bool experts : {false, true}) {
    const ModelConfig config = experts ? Experts() : Dense();
    const Step recorded = RunStep(config, nullptr, true);
    for (const auto& [name, policy] : Policies()) {
      SCOPED_TRACE(name + (experts ? ", experts" : ""));
      const Step real = RunStep(config, policy, false);
      const RecomputeCost cost = Predict(recorded, policy);
      EXPECT_EQ(cost.held_bytes + kAlignment, real.held - real.fixed) << "and the loss";
      if (real.host == 0) {
        EXPECT_EQ(cost.peak_bytes, real.peak);
      } else {  // the solver counts how far ahead tensors come back in another way
        EXPECT_GE(cost.peak_bytes, real.peak);
        EXPECT_LE(static_cast<double>(cost.peak_bytes), 1.1 * static_cast<double>(real.peak));
      }
      EXPECT_EQ(cost.host_bytes, real.host);
      EXPECT_EQ(cost.replayed, real.replayed);
    }
  }
}

}  // namespace
}  // namespace choir
