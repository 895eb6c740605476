#include "data/loader/validation.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "base/check.h"
#include "base/random.h"
#include "base/status.h"
#include "base/strings.h"

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

Unigram CountUnigram(const TokenCorpus& corpus, int32_t language) {
  Unigram unigram;
  unigram.counts.assign(static_cast<size_t>(corpus.tokenizer().vocab_size), 0);
  for (int64_t d = 0; d < corpus.NumDocuments(Split::kTrain, language); ++d) {
    const TokenDocument document = corpus.GetDocument(Split::kTrain, language, d);
    for (int64_t i = 1; i < document.length; ++i) ++unigram.counts.at(document.token(i));
    unigram.total += document.length - 1;
  }
  return unigram;
}

}  // namespace

double ValidationLanguage::BitsPerByte(double nats) const {
  return nats / std::numbers::ln2 / BytesPerToken();
}

absl::StatusOr<std::unique_ptr<ValidationSet>> ValidationSet::Open(const DataConfig& config) {
  ASSIGN_OR_RETURN(std::shared_ptr<const TokenCorpus> corpus, TokenCorpus::Open(config.path));
  return Make(std::move(corpus), config);
}

absl::StatusOr<std::unique_ptr<ValidationSet>> ValidationSet::Make(
    std::shared_ptr<const TokenCorpus> corpus, const DataConfig& config) {
  std::unique_ptr<ValidationSet> set(new ValidationSet(std::move(corpus), config));
  const auto languages = static_cast<int32_t>(set->corpus_->languages().size());
  for (int32_t l = 0; l < languages; ++l) set->AddLanguage(l);
  RETURN_IF_ERROR(set->corpus_->damage());
  if (set->languages_.empty()) {
    return absl::InvalidArgumentError(StrCat(config.path, ": no held-out documents"));
  }
  return set;
}

ValidationSet::ValidationSet(std::shared_ptr<const TokenCorpus> corpus, const DataConfig& config)
    : corpus_(std::move(corpus)), config_(config) {}

void ValidationSet::AddLanguage(int32_t language) {
  const int64_t n = corpus_->NumDocuments(Split::kHeldout, language);
  if (n == 0) return;
  ValidationLanguage entry;
  entry.language = language;
  entry.name = corpus_->languages()[language];
  const Unigram unigram = CountUnigram(*corpus_, language);
  const Permutation order(static_cast<uint64_t>(n), kSelectionSeed,
                          StrCat("validation/", entry.name), 0);
  const Packer packer(config_.sequence_length, config_.packing.look_ahead);
  PackerState packed;
  for (int64_t k = 0; k < n && entry.labels < config_.validation.tokens_per_language; ++k) {
    const auto d = static_cast<int64_t>(order(static_cast<uint64_t>(k)));
    const TokenDocument document = corpus_->GetDocument(Split::kHeldout, language, d);
    packer.Add({language, d, 0, 0, document.length - 1}, packed);
    entry.documents += 1;
    entry.labels += document.length - 1;
    entry.bytes += document.bytes;
    for (int64_t i = 1; i < document.length; ++i) {
      entry.unigram_loss += unigram.Loss(document.token(i));
    }
  }
  packer.Flush(packed);
  entry.unigram_loss /= static_cast<double>(entry.labels);
  entry.unigram_entropy = unigram.Entropy();
  languages_.push_back(std::move(entry));
  rows_.emplace_back(packed.ready.begin(), packed.ready.end());
}

int64_t ValidationSet::NumBatches(size_t i) const {
  const auto rows = static_cast<int64_t>(rows_.at(i).size());
  return (rows + config_.batch_sequences - 1) / config_.batch_sequences;
}

Batch ValidationSet::GetBatch(size_t i, int64_t batch) const {
  CHECK(batch >= 0 && batch < NumBatches(i));
  const RowOptions options{Split::kHeldout, config_.sequence_length, config_.packing.document_masks,
                           nullptr};
  const int64_t begin = batch * config_.batch_sequences;
  const int64_t end = std::min(begin + config_.batch_sequences, NumRows(i));
  std::vector<RowTokens> rows;
  for (int64_t r = begin; r < end; ++r) {
    rows.push_back(MakeRowTokens(*corpus_, rows_[i][r], options));
  }
  Batch result = MakeBatch(rows, options, corpus_->languages().size());
  result.step = -1;
  result.digest = ExtendDigest({}, result.step, result.segments);
  return result;
}

}  // namespace choir
