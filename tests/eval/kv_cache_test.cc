// Generation sees the model that was trained.
#include <gtest/gtest.h>

#include "model/transformer.h"
#include "tests/model/model_testing.h"

namespace choir {
namespace {

using testing_model::ForwardBound;
using testing_model::MaxDifference;
using testing_model::MaxMagnitude;
using testing_model::TestBatch;
using testing_model::ToDoubles;
using testing_model::ToInput;

// Tokens [begin, end) of a batch of one document, as they are fed to a cache.
ModelInput Piece(const ModelInput& all, int64_t begin, int64_t end) {
  ModelInput piece;
  piece.tokens = all.tokens.Rows(begin, end - begin);
  piece.block.positions = all.block.positions.Rows(begin, end - begin);
  return piece;
}

class KvCacheTest : public ::testing::TestWithParam<std::tuple<bool, DType>> {};

TEST_P(KvCacheTest, LogitsAreThoseOfTheTrainingForwardTokenByToken) {
  const auto [moe, dtype] = GetParam();
  const ModelConfig config = moe ? testing_model::MoeModelConfig() : testing_model::DenseConfig();
  Transformer model(config, testing_model::kVocab, {dtype, Device::kCpu});
  model.Initialize(21);
  for (MixtureOfExperts* experts : model.experts()) {
    experts->UpdateBias({9, 0, 0, 0, 9, 0, 0, 0, 0});  // a bias that matters
  }
  constexpr int64_t kTokens = 29;
  TestBatch batch;
  batch.AddDocument(kTokens, 5);
  const ModelInput input = ToInput(batch);
  const Tensor expected = model.Logits(input, nullptr);
  const double bound = ForwardBound(config, dtype, kTokens) * MaxMagnitude(ToDoubles(expected));
  // A prompt of each length at once, and the rest token by token.
  for (const int64_t prompt : {1, 2, 17, 28}) {
    std::vector<KvCache> caches = model.MakeCaches(kTokens);
    for (int64_t begin = 0, end = prompt; begin < kTokens; begin = end++) {
      const Tensor logits = model.Logits(Piece(input, begin, end), &caches);
      const Tensor rows = expected.Rows(begin, end - begin);
      EXPECT_LE(MaxDifference(ToDoubles(logits), ToDoubles(rows)), bound)
          << "tokens " << begin << " to " << end;
      EXPECT_EQ(caches[0].length, end);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, KvCacheTest,
                         ::testing::Combine(::testing::Bool(),
                                            ::testing::Values(DType::kF32, DType::kF64)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param) ? "moe_" : "dense_") +
                                  std::string(Name(std::get<1>(info.param)));
                         });

}  // namespace
}  // namespace choir
