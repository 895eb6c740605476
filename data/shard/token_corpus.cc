#include "data/shard/token_corpus.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/shard/shard_reader.h"

namespace choir {

absl::StatusOr<std::shared_ptr<const TokenCorpus>> TokenCorpus::Open(const std::string& directory) {
  std::shared_ptr<TokenCorpus> corpus(new TokenCorpus);
  corpus->directory_ = directory;
  ASSIGN_OR_RETURN(corpus->index_, ReadCorpusIndex(directory));
  RETURN_IF_ERROR(corpus->OpenShards());
  return std::shared_ptr<const TokenCorpus>(std::move(corpus));
}

TokenCorpus::~TokenCorpus() = default;

absl::Status TokenCorpus::OpenShards() {
  for (auto& runs : runs_) runs.resize(languages().size());
  for (const ShardInfo& info : index_.shards) {
    ASSIGN_OR_RETURN(std::unique_ptr<ShardReader> shard, ShardReader::Open(directory_, info));
    for (const ShardRun& run : info.runs) {
      if (run.language < 0 || run.language >= static_cast<int64_t>(languages().size()) ||
          run.first < 0 || run.count < 1 || run.first > info.documents - run.count ||
          run.tokens < run.count || run.tokens > info.tokens) {
        return absl::DataLossError(StrCat(directory_, "/", kCorpusIndexFile,
                                          ": impossible run of documents of ", info.file,
                                          "; run `choir data build` again"));
      }
      std::vector<Run>& runs = runs_[static_cast<int>(info.split)].at(run.language);
      const int64_t begin = runs.empty() ? 0 : runs.back().begin + runs.back().count;
      runs.push_back({begin, run.count, run.first, run.tokens, shard.get()});
    }
    shards_.push_back(std::move(shard));
  }
  return absl::OkStatus();
}

std::string TokenCorpus::tokenizer_path() const {
  return StrCat(directory_, "/", tokenizer().file);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> TokenCorpus::OpenItsTokenizer() const {
  ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> opened, OpenTokenizer(tokenizer_path()));
  if (opened->fingerprint() != tokenizer().fingerprint) {
    return absl::DataLossError(
        StrCat(tokenizer_path(), ": not the tokenizer that made the shards beside it (fingerprint ",
               opened->fingerprint(), ", must be ", tokenizer().fingerprint,
               "); run `choir data build` again"));
  }
  return opened;
}

int64_t TokenCorpus::NumDocuments(Split split, int32_t language) const {
  const std::vector<Run>& runs = runs_[static_cast<int>(split)].at(language);
  return runs.empty() ? 0 : runs.back().begin + runs.back().count;
}

int64_t TokenCorpus::NumLabels(Split split, int32_t language) const {
  int64_t labels = 0;
  for (const Run& run : runs_[static_cast<int>(split)].at(language)) {
    labels += run.tokens - run.count;
  }
  return labels;
}

TokenCorpus::Place TokenCorpus::Find(Split split, int32_t language, int64_t i) const {
  CHECK(i >= 0 && i < NumDocuments(split, language));
  const std::vector<Run>& runs = runs_[static_cast<int>(split)].at(language);
  const auto after = std::upper_bound(runs.begin(), runs.end(), i,
                                      [](int64_t i, const Run& run) { return i < run.begin; });
  const Run& run = *std::prev(after);
  return {run.shard, run.first + (i - run.begin)};
}

namespace {

struct Bounds {
  int64_t begin = 0;  // tokens of the shard
  int64_t length = 0;
};

absl::StatusOr<Bounds> BoundsOf(const ShardReader& shard, int64_t document) {
  RETURN_IF_ERROR(shard.Check(ShardArray::kOffset, document, 2));
  const auto begin = shard.Get<uint64_t>(ShardArray::kOffset, document);
  const auto end = shard.Get<uint64_t>(ShardArray::kOffset, document + 1);
  if (begin >= end || end - begin < 2 || end > static_cast<uint64_t>(shard.tokens())) {
    return absl::DataLossError(StrCat(shard.path(), ": document ", document,
                                      " has impossible bounds; run `choir data build` again"));
  }
  return Bounds{static_cast<int64_t>(begin), static_cast<int64_t>(end - begin)};
}

absl::Status CheckDocument(const ShardReader& shard, int64_t document, Bounds bounds) {
  for (const ShardArray array :
       {ShardArray::kSource, ShardArray::kBytes, ShardArray::kId, ShardArray::kGroup}) {
    RETURN_IF_ERROR(shard.Check(array, document, 1));
  }
  return shard.Check(ShardArray::kTokens, bounds.begin, bounds.length);
}

constexpr int64_t kShortest = 2;  // tokens: beginning and end

}  // namespace

absl::StatusOr<TokenDocument> TokenCorpus::ReadDocument(Split split, int32_t language,
                                                        int64_t i) const {
  const auto [shard, d] = Find(split, language, i);
  ASSIGN_OR_RETURN(const Bounds bounds, BoundsOf(*shard, d));
  RETURN_IF_ERROR(CheckDocument(*shard, d, bounds));
  TokenDocument document;
  document.tokens = shard->Address(ShardArray::kTokens, bounds.begin);
  document.wide = shard->wide();
  document.length = bounds.length;
  document.bytes = shard->Get<uint32_t>(ShardArray::kBytes, d);
  document.source = shard->Get<uint16_t>(ShardArray::kSource, d);
  document.id = shard->Get<uint64_t>(ShardArray::kId, d);
  document.group = shard->Get<uint64_t>(ShardArray::kGroup, d);
  return document;
}

absl::StatusOr<int64_t> TokenCorpus::ReadLength(Split split, int32_t language, int64_t i) const {
  const auto [shard, d] = Find(split, language, i);
  ASSIGN_OR_RETURN(const Bounds bounds, BoundsOf(*shard, d));
  return bounds.length;
}

TokenDocument TokenCorpus::GetDocument(Split split, int32_t language, int64_t i) const {
  const absl::StatusOr<TokenDocument> document = ReadDocument(split, language, i);
  return document.ok() ? *document : Spoilt(split, language, i, document.status());
}

int64_t TokenCorpus::DocumentLength(Split split, int32_t language, int64_t i) const {
  const absl::StatusOr<int64_t> length = ReadLength(split, language, i);
  return length.ok() ? *length : Spoilt(split, language, i, length.status()).length;
}

TokenDocument TokenCorpus::Spoilt(Split split, int32_t language, int64_t i,
                                  const absl::Status& damage) const {
  const int64_t length = ReadLength(split, language, i).value_or(kShortest);
  const std::lock_guard lock(mutex_);
  if (damage_.ok()) damage_ = damage;
  damaged_.store(true, std::memory_order_release);
  if (zeros_.empty() || static_cast<int64_t>(zeros_.back().size()) < length) {
    zeros_.emplace_back(static_cast<size_t>(length), 0);
  }
  TokenDocument document;
  document.tokens = zeros_.back().data();
  document.wide = true;
  document.length = length;
  return document;
}

absl::Status TokenCorpus::damage() const {
  if (!damaged_.load(std::memory_order_acquire)) return absl::OkStatus();
  const std::lock_guard lock(mutex_);
  return damage_;
}

}  // namespace choir
