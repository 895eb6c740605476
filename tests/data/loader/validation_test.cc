#include "data/loader/validation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "tests/data/test_corpus.h"

namespace choir {
namespace {

TEST(Validation, BatchesAreTheHeldOutDocumentsOfEachLanguage) {
  DataConfig config = testing_data::FixtureDataConfig();
  config.validation.tokens_per_language = 1'000'000;  // all
  const auto set = ValidationSet::Open(config).value();
  const auto corpus = TokenCorpus::Open(config.path).value();
  ASSERT_EQ(set->languages().size(), corpus->languages().size());
  for (size_t i = 0; i < set->languages().size(); ++i) {
    const ValidationLanguage& entry = set->languages()[i];
    EXPECT_EQ(entry.name, corpus->languages()[entry.language]);
    std::map<uint64_t, int64_t> left;  // positions by document
    int64_t bytes = 0;
    for (int64_t d = 0; d < corpus->NumDocuments(Split::kHeldout, entry.language); ++d) {
      const TokenDocument document =
          corpus->GetDocument(Split::kHeldout, entry.language, d).value();
      left[document.id] = document.length - 1;
      bytes += document.bytes;
    }
    EXPECT_EQ(entry.documents, static_cast<int64_t>(left.size()));
    EXPECT_EQ(entry.bytes, bytes);
    int64_t labels = 0, rows = 0;
    for (int64_t b = 0; b < set->NumBatches(i); ++b) {
      const Batch batch = set->GetBatch(i, b);
      EXPECT_LE(batch.rows, config.batch_sequences);
      rows += batch.rows;
      labels += batch.num_labels;
      for (const BatchSegment& segment : batch.segments) {
        EXPECT_EQ(segment.language, entry.language);
        left.at(segment.document_id) -= segment.length;
      }
      EXPECT_EQ(batch.language_tokens[entry.language], batch.num_labels);
    }
    EXPECT_EQ(labels, entry.labels);
    EXPECT_EQ(rows, set->NumRows(i));
    for (const auto& [id, positions] : left) EXPECT_EQ(positions, 0);
  }
}

TEST(Validation, IsBoundedAndDoesNotDependOnTheSeed) {
  DataConfig config = testing_data::FixtureDataConfig();
  config.validation.tokens_per_language = 300;
  const auto set = ValidationSet::Open(config).value();
  config.seed = 1234;
  config.validation.tokens_per_language = 300;
  const auto again = ValidationSet::Open(config).value();
  for (size_t i = 0; i < set->languages().size(); ++i) {
    EXPECT_GE(set->languages()[i].labels, 300);
    EXPECT_EQ(set->languages()[i].labels, again->languages()[i].labels);
    EXPECT_EQ(set->GetBatch(i, 0).digest, again->GetBatch(i, 0).digest);
    // Documents are whole: without the last, the bound is not reached.
    EXPECT_LT(set->languages()[i].documents, 20);
  }
}

// Entropies against counts made from the batches' documents one by one.
TEST(Validation, Entropies) {
  const DataConfig config = testing_data::FixtureDataConfig();
  const auto set = ValidationSet::Open(config).value();
  const auto corpus = TokenCorpus::Open(config.path).value();
  const double vocab = static_cast<double>(corpus->tokenizer().vocab_size);
  for (size_t i = 0; i < set->languages().size(); ++i) {
    const ValidationLanguage& entry = set->languages()[i];
    std::map<int32_t, double> counts;
    double total = 0;
    for (int64_t d = 0; d < corpus->NumDocuments(Split::kTrain, entry.language); ++d) {
      const TokenDocument document = corpus->GetDocument(Split::kTrain, entry.language, d).value();
      for (int64_t t = 1; t < document.length; ++t, ++total) counts[document.token(t)] += 1;
    }
    double entropy = std::log(total);
    for (const auto& [token, count] : counts) entropy -= count * std::log(count) / total;
    EXPECT_NEAR(entry.unigram_entropy, entropy, 1e-9);
    double loss = 0;
    for (int64_t b = 0; b < set->NumBatches(i); ++b) {
      const Batch batch = set->GetBatch(i, b);
      for (const int32_t label : batch.labels.span<int32_t>()) {
        if (label != kNoLabel) loss -= std::log((counts[label] + 1) / (total + vocab));
      }
    }
    EXPECT_NEAR(entry.unigram_loss, loss / static_cast<double>(entry.labels), 1e-9);
    EXPECT_GT(entry.unigram_loss, 0);
    EXPECT_LT(entry.unigram_entropy, std::log(vocab));
    EXPECT_NEAR(entry.BitsPerByte(std::log(2.0)) * entry.BytesPerToken(), 1, 1e-12);
  }
}

}  // namespace
}  // namespace choir
