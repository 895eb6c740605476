#include "data/shard/token_corpus.h"

#include <algorithm>

#include "base/check.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/shard/hdf5_shard.h"

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
    ASSIGN_OR_RETURN(std::unique_ptr<ShardReader> shard,
                     ShardReader::Open(directory_, info, tokenizer().vocab_size > 65536));
    for (const ShardRun& run : info.runs) {
      CHECK(run.first >= 0 && run.count > 0 && run.first + run.count <= info.documents)
          << info.file;
      std::vector<Run>& runs = runs_[static_cast<int>(info.split)].at(run.language);
      const int64_t begin = runs.empty() ? 0 : runs.back().begin + runs.back().count;
      runs.push_back({begin, run.count, run.first, shard.get()});
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
    const auto offset = run.shard->offset();
    labels += static_cast<int64_t>(offset[run.first + run.count] - offset[run.first]) - run.count;
  }
  return labels;
}

TokenDocument TokenCorpus::GetDocument(Split split, int32_t language, int64_t i) const {
  CHECK(i >= 0 && i < NumDocuments(split, language));
  const std::vector<Run>& runs = runs_[static_cast<int>(split)].at(language);
  const auto after = std::upper_bound(runs.begin(), runs.end(), i,
                                      [](int64_t i, const Run& run) { return i < run.begin; });
  const Run& run = *std::prev(after);
  const ShardReader& shard = *run.shard;
  const int64_t d = run.first + (i - run.begin);
  TokenDocument document;
  document.tokens = shard.tokens(shard.offset()[d]);
  document.wide = shard.wide();
  document.length = static_cast<int64_t>(shard.offset()[d + 1] - shard.offset()[d]);
  document.bytes = shard.bytes()[d];
  document.source = shard.source()[d];
  document.id = shard.id()[d];
  document.group = shard.group()[d];
  return document;
}

}  // namespace choir
