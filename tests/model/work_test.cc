// The work that kernels report while a model trains, against the counts of its config.
#include "ops/work.h"

#include <gtest/gtest.h>

#include <map>

#include "model/counts.h"
#include "ops/attention.h"
#include "tests/model/model_testing.h"
#include "tests/ops/recompute_where.h"

namespace choir {
namespace {

using namespace testing_model;

// configs/tiny.yaml and configs/moe-tiny.yaml.
ModelConfig TinyConfig() {
  ModelConfig c;
  c.layers = 2;
  c.hidden = 64;
  c.heads = 4;
  c.ffn = 160;
  return c;
}

ModelConfig MoeTinyConfig() {
  ModelConfig c;
  c.layers = 3;
  c.hidden = 60;
  c.heads = 6;
  c.kv_heads = 3;
  c.ffn = 160;
  c.qk_norm = true;
  c.tie_embeddings = true;
  c.moe.experts = 8;
  c.moe.top_k = 3;
  c.moe.width = 32;
  c.moe.shared_experts = 2;
  c.moe.dense_layers = 1;
  c.moe.route_scale = 1.5;
  c.moe.bias_speed = 0.001;
  c.moe.sequence_loss = 1e-4;
  return c;
}

struct Case {
  const char* name;
  ModelConfig config;
};
const std::vector<Case>& Cases() {
  static const auto& cases =
      *new std::vector<Case>{{"tiny", TinyConfig()}, {"moe-tiny", MoeTinyConfig()}};
  return cases;
}

// Flops of products by kernel, and how many kernels ran.
struct Told {
  std::map<std::string, double> flops;
  std::map<std::string, int> kernels;

  double Sum() const {
    double sum = 0;
    for (const auto& [name, flops] : flops) sum += flops;
    return sum;
  }
};

Told Train(const ModelConfig& config, Device device, const RecomputePolicy& policy = nullptr) {
  Transformer model(config, kVocab, {DType::kF32, device});
  if (device == Device::kCpu) model.Initialize(1);
  const TestBatch batch = PackedRows(2, /*padded=*/false);
  Told told;
  const WorkListener listener = [&](const Work& work) {
    ++told.kernels[work.name];
    if (work.kind == WorkKind::kMatmul || work.kind == WorkKind::kGrouped ||
        work.kind == WorkKind::kAttention) {
      told.flops[work.name] += work.flops;
    }
  };
  const ScopedWorkListener listening(listener);
  Tape tape;
  RunStep(model, tape, ToInput(batch, device),
          {1.0 / static_cast<double>(batch.NumTokens()), policy});
  told.kernels.erase("expert_counts");  // of what was routed: meta has none
  return told;
}

double CountedFlops(const ModelConfig& config) {
  const TestBatch batch = PackedRows(2, /*padded=*/false);
  return CountFlops(config, kVocab)
      .Training(static_cast<double>(batch.NumTokens()), VisiblePairs(batch.boundaries));
}

TEST(ModelWorkTest, AStepTellsTheFlopsOfItsConfig) {
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    const Told cpu = Train(c.config, Device::kCpu), meta = Train(c.config, Device::kMeta);
    EXPECT_DOUBLE_EQ(meta.Sum(), CountedFlops(c.config));
    EXPECT_EQ(cpu.flops, meta.flops);
    EXPECT_EQ(cpu.kernels, meta.kernels);
  }
}

// What a dropped result costs again is its own kernel, and no other.
TEST(ModelWorkTest, RecomputationAddsItsKernels) {
  const auto drops = [](std::string_view dropped) {
    return RecomputeWhere([dropped](std::string_view tag, int) { return tag == dropped; });
  };
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    const Told kept = Train(c.config, Device::kMeta);
    const TestBatch batch = PackedRows(2, false);
    const double tokens = static_cast<double>(batch.NumTokens());
    // Shared experts have the tags of a dense feed-forward.
    const MoeConfig& moe = c.config.moe;
    const int dense = moe.experts > 0 ? moe.dense_layers : c.config.layers;
    const int shared = c.config.layers - dense;
    const double width =
        static_cast<double>(c.config.ffn * dense + moe.width * moe.shared_experts * shared);
    const double gate_up = 2 * tokens * static_cast<double>(c.config.hidden) * 2 * width;
    const Told again = Train(c.config, Device::kMeta, drops("ffn.gate_up"));
    EXPECT_DOUBLE_EQ(again.Sum() - kept.Sum(), gate_up);
    const Told attention = Train(c.config, Device::kMeta, drops("attention"));
    EXPECT_DOUBLE_EQ(attention.flops.at("attention"), 2 * kept.flops.at("attention"));
    EXPECT_EQ(attention.kernels.at("attention"), 2 * kept.kernels.at("attention"));
    EXPECT_DOUBLE_EQ(attention.Sum() - kept.Sum(), kept.flops.at("attention"));
    const Told swiglu = Train(c.config, Device::kMeta, drops("swiglu"));
    EXPECT_EQ(swiglu.kernels.at("swiglu") - kept.kernels.at("swiglu"), dense + shared);
    EXPECT_EQ(swiglu.Sum(), kept.Sum());
  }
}

TEST(ModelWorkTest, RecomputationTellsTheSameOnMeta) {
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    const auto all = RecomputeWhere([](std::string_view, int) { return true; });
    const Told cpu = Train(c.config, Device::kCpu, all), meta = Train(c.config, Device::kMeta, all);
    EXPECT_EQ(cpu.flops, meta.flops);
    EXPECT_EQ(cpu.kernels, meta.kernels);
    EXPECT_GT(meta.Sum(), CountedFlops(c.config));
  }
}

}  // namespace
}  // namespace choir
