// Validation losses against sums made document by document.
#include "eval/validate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "data/shard/token_corpus.h"
#include "eval/model_input.h"
#include "tests/data/test_corpus.h"
#include "tests/model/model_testing.h"

namespace choir {
namespace {

using testing_model::TestBatch;

// Sum of -log softmax(logits)[label] of one segment alone, without neighbours or padding.
double SegmentLoss(Transformer& model, const Batch& batch, const BatchSegment& segment) {
  const int64_t begin = segment.row * batch.length + segment.begin;
  TestBatch alone;
  alone.AddDocument(segment.length, 0);
  for (int64_t i = 0; i < segment.length; ++i) {
    alone.tokens[static_cast<size_t>(i)] = batch.tokens.data<int32_t>()[begin + i];
  }
  const Tensor logits = model.Logits(testing_model::ToInput(alone), nullptr);
  double loss = 0;
  for (int64_t i = 0; i < segment.length; ++i) {
    const Tensor row = logits.Rows(i, 1);
    double sum = 0;
    for (float x : row.span<float>()) sum += std::exp(static_cast<double>(x));
    loss += std::log(sum) -
            static_cast<double>(row.data<float>()[batch.labels.data<int32_t>()[begin + i]]);
  }
  return loss;
}

TEST(Validate, IsTheMeanOverTheLabelsOfEachLanguage) {
  DataConfig data = testing_data::FixtureDataConfig();
  data.validation.tokens_per_language = 150;
  const auto set = ValidationSet::Open(data).value();
  const auto corpus = TokenCorpus::Open(data.path).value();
  const int64_t vocab = corpus->tokenizer().vocab_size;
  for (const bool moe : {false, true}) {
    const ModelConfig config = moe ? testing_model::MoeModelConfig() : testing_model::DenseConfig();
    Transformer model(config, vocab, {});
    model.Initialize(41);
    const std::vector<LanguageLoss> losses = Validate(model, *set);
    ASSERT_EQ(losses.size(), set->languages().size());
    ASSERT_GE(losses.size(), 28u);
    for (size_t i = 0; i < losses.size(); ++i) {
      const ValidationLanguage& language = set->languages()[i];
      EXPECT_EQ(losses[i].language, language.name);
      EXPECT_EQ(losses[i].labels, language.labels);
      EXPECT_EQ(losses[i].unigram_loss, language.unigram_loss);
      if (i % 9 != 0) continue;  // by hand only some
      double sum = 0;
      int64_t labels = 0;
      for (int64_t b = 0; b < set->NumBatches(i); ++b) {
        const Batch batch = set->GetBatch(i, b);
        for (const BatchSegment& segment : batch.segments) {
          sum += SegmentLoss(model, batch, segment);
          labels += segment.length;
        }
      }
      EXPECT_EQ(labels, losses[i].labels);
      const double mean = sum / static_cast<double>(labels);
      const double bound = testing_model::ForwardBound(config, DType::kF32, data.sequence_length);
      EXPECT_NEAR(losses[i].loss, mean, bound * mean) << language.name;
      // Nats per label to bits per byte of the text.
      EXPECT_NEAR(losses[i].bits_per_byte,
                  losses[i].loss * static_cast<double>(labels) /
                      (std::log(2.0) * static_cast<double>(language.bytes)),
                  1e-12 * losses[i].bits_per_byte);
    }
    const std::vector<LanguageLoss> again = Validate(model, *set);
    for (size_t i = 0; i < losses.size(); ++i) EXPECT_EQ(again[i].loss, losses[i].loss);
  }
}

TEST(ModelInput, MicrobatchesAreTheRowsOfTheBatch) {
  DataConfig data = testing_data::FixtureDataConfig();
  data.validation.tokens_per_language = 400;
  const auto set = ValidationSet::Open(data).value();
  const Batch batch = set->GetBatch(0, 0);
  ASSERT_GE(batch.rows, 3);
  double pairs = 0;
  int64_t valid = 0;
  for (int64_t row = 0; row < batch.rows; row += 2) {
    const int64_t count = std::min<int64_t>(2, batch.rows - row);
    const ModelInput input = MicrobatchInput(batch, row, count);
    EXPECT_EQ(input.tokens.NumElements(), count * batch.length);
    EXPECT_TRUE(input.tokens.SharesStorageWith(batch.tokens));
    EXPECT_EQ(input.block.rows, count);
    EXPECT_EQ(input.block.batch_share, double(count) / double(batch.rows));
    const std::vector<int32_t>& bounds = *input.block.boundaries;
    for (size_t i = 0; i + 1 < bounds.size(); ++i) {
      // A document begins where positions begin again.
      EXPECT_EQ(input.block.positions.data<int32_t>()[bounds[i]], 0);
    }
    for (int64_t i = 0; i < input.labels.NumElements(); ++i) {
      const bool labelled = input.labels.data<int32_t>()[i] != kNoLabel;
      EXPECT_EQ(input.block.valid.data<float>()[i], labelled ? 1 : 0);
      valid += labelled;
    }
    pairs += VisiblePairs(input);
  }
  EXPECT_EQ(valid, batch.num_labels);
  double expected = 0;
  for (const BatchSegment& s : batch.segments) {
    expected += static_cast<double>(s.length * (s.length + 1)) / 2;
  }
  EXPECT_EQ(pairs, expected);
}

}  // namespace
}  // namespace choir
