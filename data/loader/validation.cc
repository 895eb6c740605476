#include "data/loader/validation.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "base/check.h"
#include "base/random.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/loader/text_corpus.h"

namespace choir {
namespace {

// The same documents in every run, whatever its seed: losses of different runs compare.
constexpr uint64_t kSelectionSeed = 0;

// Labels of a language's training documents by token.
struct Unigram {
  std::vector<int64_t> counts;
  int64_t total = 0;

  // Nats of a label, with one added to each count.
  double Loss(int32_t token) const {
    const double vocab = static_cast<double>(counts.size());
    return -std::log((static_cast<double>(counts.at(token)) + 1) /
                     (static_cast<double>(total) + vocab));
  }
  double Entropy() const {
    double sum = 0;
    for (const int64_t count : counts) {
      if (count == 0) continue;
      const double p = static_cast<double>(count) / static_cast<double>(total);
      sum -= p * std::log(p);
    }
    return sum;
  }
};

// Of documents in the order of a permutation, until there are kUnigramLabels: start-up must not
// grow with the corpus.
constexpr int64_t kUnigramLabels = 4'000'000;

absl::StatusOr<Unigram> CountUnigram(const Corpus& corpus, const DocumentStream& stream) {
  Unigram unigram;
  unigram.counts.assign(static_cast<size_t>(corpus.tokenizer().vocab_size), 0);
  const Permutation order(static_cast<uint64_t>(std::max<int64_t>(1, stream.documents)),
                          kSelectionSeed, StrCat("unigram/", stream.name), 0);
  for (int64_t k = 0; k < stream.documents && unigram.total < kUnigramLabels; ++k) {
    const auto d = static_cast<int64_t>(order(static_cast<uint64_t>(k)));
    ASSIGN_OR_RETURN(const TokenDocument document, corpus.Read(Split::kTrain, stream, d));
    for (int64_t i = 1; i < document.length; ++i) ++unigram.counts.at(document.token(i));
    unigram.total += std::max<int64_t>(0, document.length - 1);
  }
  return unigram;
}

}  // namespace

double ValidationLanguage::BitsPerByte(double nats) const {
  return nats / std::numbers::ln2 / BytesPerToken();
}

absl::StatusOr<std::unique_ptr<ValidationSet>> ValidationSet::Open(const DataConfig& config) {
  ASSIGN_OR_RETURN(std::shared_ptr<const Corpus> corpus, OpenCorpus(config));
  return Make(std::move(corpus), config);
}

absl::StatusOr<std::unique_ptr<ValidationSet>> ValidationSet::Make(
    std::shared_ptr<const Corpus> corpus, const DataConfig& config) {
  std::unique_ptr<ValidationSet> set(new ValidationSet(std::move(corpus), config));
  ASSIGN_OR_RETURN(set->streams_, set->corpus_->Streams(Split::kHeldout, /*by_source=*/false));
  ASSIGN_OR_RETURN(const std::vector<DocumentStream> train,
                   set->corpus_->Streams(Split::kTrain, /*by_source=*/false));
  for (const DocumentStream& stream : train) {
    RETURN_IF_ERROR(set->AddLanguage(stream));
  }
  if (set->languages_.empty()) {
    return absl::InvalidArgumentError(StrCat(set->corpus_->directory(), ": no held-out documents"));
  }
  return set;
}

ValidationSet::ValidationSet(std::shared_ptr<const Corpus> corpus, const DataConfig& config)
    : corpus_(std::move(corpus)), config_(config) {}

// Its rows are of stream number `language`, and of documents_ by number.
absl::Status ValidationSet::AddLanguage(const DocumentStream& train) {
  const DocumentStream& stream = streams_[train.language];
  if (stream.documents == 0) return absl::OkStatus();
  ValidationLanguage entry;
  entry.language = stream.language;
  entry.name = stream.name;
  ASSIGN_OR_RETURN(const Unigram unigram, CountUnigram(*corpus_, train));
  const Permutation order(static_cast<uint64_t>(stream.documents), kSelectionSeed,
                          StrCat("validation/", entry.name), 0);
  const Packer packer(config_.sequence_length, config_.packing.look_ahead);
  PackerState packed;
  for (int64_t k = 0; k < stream.documents && entry.labels < config_.validation.tokens_per_language;
       ++k) {
    const auto d = static_cast<int64_t>(order(static_cast<uint64_t>(k)));
    ASSIGN_OR_RETURN(const TokenDocument document, corpus_->Read(Split::kHeldout, stream, d));
    if (document.length == 0) continue;
    packer.Add(
        {stream.language, static_cast<int64_t>(documents_.size()), 0, 0, document.length - 1},
        packed);
    documents_.push_back(document);
    entry.documents += 1;
    entry.labels += document.length - 1;
    entry.bytes += document.bytes;
    for (int64_t i = 1; i < document.length; ++i) {
      entry.unigram_loss += unigram.Loss(document.token(i));
    }
  }
  if (entry.labels == 0) return absl::OkStatus();
  packer.Flush(packed);
  entry.unigram_loss /= static_cast<double>(entry.labels);
  entry.unigram_entropy = unigram.Entropy();
  languages_.push_back(std::move(entry));
  rows_.emplace_back(packed.ready.begin(), packed.ready.end());
  return absl::OkStatus();
}

int64_t ValidationSet::NumBatches(size_t i) const {
  const auto rows = static_cast<int64_t>(rows_.at(i).size());
  return (rows + config_.batch_sequences - 1) / config_.batch_sequences;
}

Batch ValidationSet::GetBatch(size_t i, int64_t batch) const {
  CHECK(batch >= 0 && batch < NumBatches(i));
  const RowOptions options{config_.sequence_length, config_.packing.document_masks,
                           corpus_->tokenizer().pad_id, nullptr};
  const int64_t begin = batch * config_.batch_sequences;
  const int64_t end = std::min(begin + config_.batch_sequences, NumRows(i));
  std::vector<RowTokens> rows;
  for (int64_t r = begin; r < end; ++r) {
    std::vector<TokenDocument> documents;
    for (const Piece& piece : rows_[i][r].pieces) documents.push_back(documents_[piece.document]);
    rows.push_back(MakeRowTokens(streams_, rows_[i][r], documents, options));
  }
  Batch result = MakeBatch(rows, options, corpus_->languages().size());
  result.step = -1;
  result.digest = ExtendDigest({}, result.step, result.segments);
  return result;
}

}  // namespace choir
