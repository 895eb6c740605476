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
  const std::vector<Run>& runs = runs_[static_cast<int>(split)].at(language);
  CHECK(i >= 0 && !runs.empty() && i < runs.back().begin + runs.back().count);
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

}  // namespace

absl::StatusOr<TokenDocument> ReadShardDocument(const ShardReader& shard, int64_t d) {
  ASSIGN_OR_RETURN(const Bounds bounds, BoundsOf(shard, d));
  RETURN_IF_ERROR(CheckDocument(shard, d, bounds));
  TokenDocument document;
  document.tokens = shard.Address(ShardArray::kTokens, bounds.begin);
  document.wide = shard.wide();
  document.length = bounds.length;
  document.bytes = shard.Get<uint32_t>(ShardArray::kBytes, d);
  document.source = shard.Get<uint16_t>(ShardArray::kSource, d);
  document.id = shard.Get<uint64_t>(ShardArray::kId, d);
  document.group = shard.Get<uint64_t>(ShardArray::kGroup, d);
  return document;
}

absl::StatusOr<TokenDocument> TokenCorpus::GetDocument(Split split, int32_t language,
                                                       int64_t i) const {
  const auto [shard, d] = Find(split, language, i);
  return ReadShardDocument(*shard, d);
}

absl::StatusOr<DocumentHead> TokenCorpus::GetHead(Split split, int32_t language, int64_t i) const {
  const auto [shard, d] = Find(split, language, i);
  ASSIGN_OR_RETURN(const Bounds bounds, BoundsOf(*shard, d));
  RETURN_IF_ERROR(shard->Check(ShardArray::kId, d, 1));
  RETURN_IF_ERROR(shard->Check(ShardArray::kSource, d, 1));
  return DocumentHead{bounds.length, shard->Get<uint64_t>(ShardArray::kId, d),
                      shard->Get<uint16_t>(ShardArray::kSource, d)};
}

// A run of 32 bytes for each stretch of one source: how many there are depends on the order in
// which the build met the documents.
absl::Status TokenCorpus::FindSources() const {
  for (const Split split : kAllSplits) {
    SourceRuns& found = source_runs_[static_cast<int>(split)];
    found.assign(languages().size(), {});
    for (size_t l = 0; l < languages().size(); ++l) {
      found[l].resize(sources().size());
      for (const Run& run : runs_[static_cast<int>(split)][l]) {
        RETURN_IF_ERROR(run.shard->Check(ShardArray::kSource, run.first, run.count));
        for (int64_t i = 0; i < run.count; ++i) {
          const auto source = run.shard->Get<uint16_t>(ShardArray::kSource, run.first + i);
          ASSIGN_OR_RETURN(const Bounds bounds, BoundsOf(*run.shard, run.first + i));
          std::vector<SourceRun>& of = found[l].at(source);
          const int64_t number = run.begin + i;
          if (of.empty() || of.back().first + of.back().count != number) {
            of.push_back({of.empty() ? 0 : of.back().begin + of.back().count, number, 0, 0});
          }
          ++of.back().count;
          of.back().labels += bounds.length - 1;
        }
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<DocumentStream>> TokenCorpus::Streams(Split split,
                                                                 bool by_source) const {
  std::vector<DocumentStream> streams;
  for (int32_t l = 0; l < static_cast<int32_t>(languages().size()); ++l) {
    if (!by_source) {
      streams.push_back(
          {l, kAllSources, languages()[l], NumDocuments(split, l), NumLabels(split, l)});
      continue;
    }
    std::call_once(sources_found_, [this] { sources_status_ = FindSources(); });
    RETURN_IF_ERROR(sources_status_);
    for (int32_t s = 0; s < static_cast<int32_t>(sources().size()); ++s) {
      DocumentStream stream{l, s, StrCat(languages()[l], "/", sources()[s]), 0, 0};
      for (const SourceRun& run : source_runs_[static_cast<int>(split)][l][s]) {
        stream.documents += run.count;
        stream.labels += run.labels;
      }
      if (stream.documents > 0) streams.push_back(std::move(stream));
    }
  }
  return streams;
}

int64_t TokenCorpus::NumberInLanguage(Split split, const DocumentStream& stream, int64_t i) const {
  if (stream.source == kAllSources) return i;
  const std::vector<SourceRun>& runs =
      source_runs_[static_cast<int>(split)].at(stream.language).at(stream.source);
  const auto after = std::upper_bound(
      runs.begin(), runs.end(), i, [](int64_t i, const SourceRun& run) { return i < run.begin; });
  return std::prev(after)->first + i - std::prev(after)->begin;
}

absl::StatusOr<DocumentHead> TokenCorpus::Head(Split split, const DocumentStream& stream,
                                               int64_t i) const {
  return GetHead(split, stream.language, NumberInLanguage(split, stream, i));
}

absl::StatusOr<TokenDocument> TokenCorpus::Read(Split split, const DocumentStream& stream,
                                                int64_t i) const {
  return GetDocument(split, stream.language, NumberInLanguage(split, stream, i));
}

}  // namespace choir
