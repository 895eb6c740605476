// Held-out documents as fixed batches of one language each, and the entropies that a model has to
// beat.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/data_config.h"
#include "data/loader/batch.h"
#include "data/loader/row_tokens.h"
#include "data/order/packer.h"
#include "data/shard/corpus.h"

namespace choir {

struct ValidationLanguage {
  int32_t language = 0;  // index into the language table
  std::string name;
  int64_t documents = 0;
  int64_t labels = 0;  // over its batches
  int64_t bytes = 0;   // of the text of these documents
  // Nats per label of these documents, coded by the distribution of this language's training
  // labels with one added to each count. A model must come below it to have learnt any context.
  double unigram_loss = 0;
  // Entropy of the distribution of this language's training labels, in nats.
  double unigram_entropy = 0;

  double BytesPerToken() const { return static_cast<double>(bytes) / static_cast<double>(labels); }
  // Bits per byte of text at a loss of `nats` per label.
  double BitsPerByte(double nats) const;
};

class ValidationSet {
 public:
  // Reads the held-out split of config.path with config.sequence_length, config.packing and
  // config.validation. A language without held-out documents has no entry.
  static absl::StatusOr<std::unique_ptr<ValidationSet>> Open(const DataConfig& config);
  // The same, on a corpus that is open.
  static absl::StatusOr<std::unique_ptr<ValidationSet>> Make(std::shared_ptr<const Corpus> corpus,
                                                             const DataConfig& config);

  const std::vector<ValidationLanguage>& languages() const { return languages_; }
  // Batches of languages()[i], of config.batch_sequences rows; the last may have fewer.
  int64_t NumBatches(size_t i) const;
  // Rows over all batches of languages()[i].
  int64_t NumRows(size_t i) const { return static_cast<int64_t>(rows_.at(i).size()); }
  Batch GetBatch(size_t i, int64_t batch) const;

 private:
  ValidationSet(std::shared_ptr<const Corpus> corpus, const DataConfig& config);
  absl::Status AddLanguage(const DocumentStream& train);

  std::shared_ptr<const Corpus> corpus_;
  DataConfig config_;
  std::vector<DocumentStream> streams_;   // held-out, by language
  std::vector<TokenDocument> documents_;  // what the pieces of rows_ call documents
  std::vector<ValidationLanguage> languages_;
  std::vector<std::vector<PackedRow>> rows_;  // by languages_
};

}  // namespace choir
