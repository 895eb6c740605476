// Counts against sums made by hand of three published models, and against what is allocated.
#include "model/counts.h"

#include <gtest/gtest.h>

#include "model/transformer.h"
#include "tests/model/model_testing.h"

namespace choir {
namespace {

struct PublishedModel {
  ModelConfig config;
  int64_t vocab_size = 0;
};

// Llama 3 8B (Grattafiori et al. 2024). Every layer: q and o 4096 x 4096, k and v 4096 x 1024
// (41943040), gate, up and down 4096 x 14336 (176160768), two norms (8192): 218112000.
//   32 layers                           6979584000
//   embedding and head 128256 x 4096    1050673152
//   last norm                                 4096
//                                       8030261248
PublishedModel Llama3() {
  ModelConfig c;
  c.layers = 32;
  c.hidden = 4096;
  c.heads = 32;
  c.kv_heads = 8;
  c.ffn = 14336;
  return {c, 128256};
}

// Mixtral 8x7B (Jiang et al. 2024). Every layer: attention as above (41943040), router 4096 x 8
// (32768), two norms (8192), eight experts of 176160768, of which a token visits two.
//   in all      32 x 1451270144 = 46440644608    a token's    32 x 394305536 = 12617777152
//   embedding and head 32000 x 4096: 262144000   the same                        262144000
//   last norm                             4096                                        4096
//                                  46702792704                                 12879925248
PublishedModel Mixtral() {
  ModelConfig c = Llama3().config;
  c.ffn = 0;
  c.moe.experts = 8;
  c.moe.top_k = 2;
  c.moe.width = 14336;
  c.moe.score = ScoreFunction::kSoftmax;
  c.moe.balance_loss = 0.02;
  return {c, 32000};
}

// Qwen3-30B-A3B (Yang et al. 2025). Every layer: q 2048 x 4096, k and v 2048 x 512, o 4096 x 2048
// (18874368), norms of heads and stream 2 x 128 + 2 x 2048 (4352), router 2048 x 128 (262144), 128
// experts of 3 x 2048 x 768 (4718592), of which a token visits eight.
//   in all      48 x 623120640 = 29909790720     a token's     48 x 56889600 = 2730700800
//   embedding and head 151936 x 2048: 622329856  the same                       622329856
//   last norm                              2048                                      2048
//                                   30532122624                                3353032704
PublishedModel Qwen3() {
  ModelConfig c;
  c.layers = 48;
  c.hidden = 2048;
  c.heads = 32;
  c.kv_heads = 4;
  c.head_dim = 128;
  c.qk_norm = true;
  c.moe.experts = 128;
  c.moe.top_k = 8;
  c.moe.width = 768;
  c.moe.score = ScoreFunction::kSoftmax;
  c.moe.balance_loss = 0.001;
  return {c, 151936};
}

TEST(Counts, Llama3) {
  const auto [config, vocab] = Llama3();
  const ParameterCounts counts = CountParameters(config, vocab);
  EXPECT_EQ(counts.total, 8'030'261'248);
  EXPECT_EQ(counts.active, counts.total);
  EXPECT_EQ(counts.embedding, 128256 * 4096);
  // Twice the weights that multiply: all but embedding (525336576) and 65 norms (266240).
  const FlopCounts flops = CountFlops(config, vocab);
  EXPECT_EQ(flops.linear_per_token, 2.0 * 7'504'658'432);
  // 32 layers x 32 heads x 128 dims x (score + weighted value) x (multiply + add).
  EXPECT_EQ(flops.attention_per_pair, 524'288);
  // Per token of a document of 8192: it sees 4096.5 keys on average; backward is twice forward.
  EXPECT_EQ(flops.TrainingPerToken(8192), 3 * (15'009'316'864.0 + 524'288 * 4096.5));
  EXPECT_EQ(flops.Training(10, 55), 3 * (10 * 15'009'316'864.0 + 55 * 524'288.0));
}

TEST(Counts, Mixtral) {
  const auto [config, vocab] = Mixtral();
  const ParameterCounts counts = CountParameters(config, vocab);
  EXPECT_EQ(counts.total, 46'702'792'704);
  EXPECT_EQ(counts.active, 12'879'925'248);
  // A token's weights but embedding (131072000) and 65 norms (266240).
  EXPECT_EQ(CountFlops(config, vocab).linear_per_token, 2.0 * 12'748'587'008);
}

TEST(Counts, Qwen3) {
  const auto [config, vocab] = Qwen3();
  const ParameterCounts counts = CountParameters(config, vocab);
  EXPECT_EQ(counts.total, 30'532'122'624);
  EXPECT_EQ(counts.active, 3'353'032'704);
  // But embedding (311164928), 48 x 4352 of norms in layers and the last norm (210944 in all).
  const FlopCounts flops = CountFlops(config, vocab);
  EXPECT_EQ(flops.linear_per_token, 2.0 * 3'041'656'832);
  EXPECT_EQ(flops.attention_per_pair, 4.0 * 48 * 32 * 128);
}

int64_t AllocatedElements(const ModelConfig& config, int64_t vocab_size) {
  MemoryLedger ledger;
  ScopedLedger scoped(Device::kMeta, ledger);
  const Transformer model(config, vocab_size, {DType::kF32, Device::kMeta});
  int64_t elements = 0, bytes = 0;
  for (const auto& entry : model.parameters()) {
    elements += entry.parameter->value.NumElements();
    bytes += RoundedBytes(entry.parameter->value.bytes());
    EXPECT_EQ(entry.parameter->grad.shape(), entry.parameter->value.shape());
  }
  for (const MixtureOfExperts* moe : model.experts()) {
    if (moe->bias.defined()) bytes += RoundedBytes(moe->bias.bytes());
  }
  EXPECT_EQ(ledger.Current(MemoryCategory::kParameters), bytes);
  return elements;
}

// On the meta device nothing is allocated, so the published sizes can be made whole.
TEST(Counts, AreWhatAModelAllocates) {
  for (const auto& [config, vocab] : {Llama3(), Mixtral(), Qwen3()}) {
    EXPECT_EQ(AllocatedElements(config, vocab), CountParameters(config, vocab).total);
  }
  ModelConfig dense = testing_model::DenseConfig(), moe = testing_model::MoeModelConfig();
  for (const bool tied : {false, true}) {
    dense.tie_embeddings = moe.tie_embeddings = tied;
    EXPECT_EQ(AllocatedElements(dense, 83), CountParameters(dense, 83).total);
    EXPECT_EQ(AllocatedElements(moe, 83), CountParameters(moe, 83).total);
  }
  moe.moe.shared_experts = 3;
  moe.qk_norm = true;
  EXPECT_EQ(AllocatedElements(moe, 83), CountParameters(moe, 83).total);
}

}  // namespace
}  // namespace choir
