// What Choir's own block holds for its backward pass, term by term. Prints the table of
// docs/planning-activations.md.
#include <gtest/gtest.h>

#include <cstdio>

#include "model/transformer.h"
#include "tests/model/model_testing.h"
#include "tests/ops/recompute_where.h"

namespace choir {
namespace {

using namespace testing_model;

constexpr int64_t kSequence = 2048;

struct Model {
  const char* name;
  int64_t hidden, heads;
};
// The widths of Korthikanti et al. 2022, Table 3.
constexpr Model kModels[] = {
    {"22B", 6144, 64}, {"175B", 12288, 96}, {"530B", 20480, 128}, {"1T", 25600, 160}};

ModelConfig ConfigOf(const Model& model, int64_t ffn) {
  ModelConfig config;
  config.hidden = model.hidden;
  config.heads = model.heads;
  config.ffn = ffn;
  return config;
}

// Activations that the forward pass of `layers` layers leaves on the tape.
int64_t Held(const ModelConfig& config, const RecomputePolicy& policy) {
  MemoryLedger ledger;
  const ScopedLedger scoped(Device::kMeta, ledger);
  Transformer model(config, kVocab, {DType::kF32, Device::kMeta});
  Tape tape;
  tape.SetRecomputePolicy(policy);
  TestBatch batch;
  batch.AddDocument(kSequence, 1);
  const ModelInput input = ToInput(batch, Device::kMeta);
  model.Hidden(tape, input, nullptr);
  return ledger.Current(MemoryCategory::kActivations);
}

int64_t LayerBytes(ModelConfig config, const RecomputePolicy& policy = nullptr) {
  config.layers = 3;
  const int64_t three = Held(config, policy);
  config.layers = 2;
  return three - Held(config, policy);
}

// Of a token, in bytes: elements have 4.
struct Terms {
  int64_t streams, normed, qkv, attention, lse, gate_up, swiglu;
  int64_t Sum() const { return streams + normed + qkv + attention + lse + gate_up + swiglu; }
};
Terms TermsOf(const Model& model, int64_t ffn) {
  const int64_t h = 4 * model.hidden;
  return {2 * h, 2 * h, 3 * h, h, 4 * model.heads, 8 * ffn, 4 * ffn};
}

// With as many parameters as an MLP of 4 h with two matrices.
int64_t EqualFfn(const Model& model) { return 8 * model.hidden / 3; }

TEST(ActivationBytesTest, ABlockHoldsTheSumOfItsTerms) {
  std::printf(
      "\nBytes of a token and layer (s = %ld, f = 8h/3):\n\n| model | norm inputs 8h | normed 8h "
      "| q, k, v 12h | attention 4h | log-sum-exp 4a | gate, up 8f | SwiGLU 4f | all | "
      "34h + 5as |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
      static_cast<long>(kSequence));
  for (const Model& model : kModels) {
    SCOPED_TRACE(model.name);
    const int64_t ffn = EqualFfn(model);
    const Terms t = TermsOf(model, ffn);
    EXPECT_EQ(LayerBytes(ConfigOf(model, ffn)), kSequence * t.Sum());
    const int64_t published = 34 * model.hidden + 5 * model.heads * kSequence;
    std::printf("| %s |", model.name);
    for (const int64_t bytes : {t.streams, t.normed, t.qkv, t.attention, t.lse, t.gate_up, t.swiglu,
                                t.Sum(), published}) {
      std::printf(" %ld |", static_cast<long>(bytes));
    }
    std::printf("\n");
  }
}

// The sum in the middle of a block has another tag.
TEST(ActivationBytesTest, RecomputationLeavesTheInputsOfBlocks) {
  const auto policy = RecomputeWhere([](std::string_view tag, int) { return tag != "residual"; });
  for (const Model& model : kModels) {
    const int64_t ffn = EqualFfn(model);
    EXPECT_EQ(LayerBytes(ConfigOf(model, ffn), policy),
              kSequence * TermsOf(model, ffn).streams / 2);
  }
}

// Norms of queries and keys keep what comes before the rotation too; k = kv_heads / heads makes
// queries, keys and values (1 + 2k) h elements.
TEST(ActivationBytesTest, VariantsOfAttention) {
  const Model& model = kModels[0];
  const int64_t h = 4 * model.hidden, ffn = EqualFfn(model);
  ModelConfig config = ConfigOf(model, ffn);
  const int64_t plain = LayerBytes(config);
  config.kv_heads = config.heads / 4;
  EXPECT_EQ(plain - LayerBytes(config), kSequence * (3 * h - 3 * h / 2));
  config.kv_heads = config.heads;
  config.qk_norm = true;
  EXPECT_EQ(LayerBytes(config) - plain, kSequence * 3 * h);
}

}  // namespace
}  // namespace choir
