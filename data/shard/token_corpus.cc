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

// Builds write the documents of a language by source, so that there are few runs.
void TokenCorpus::FindSources() const {
  for (const Split split : kAllSplits) {
    SourceRuns& found = source_runs_[static_cast<int>(split)];
    found.assign(languages().size(), {});
    for (size_t l = 0; l < languages().size(); ++l) {
      found[l].resize(sources().size());
      for (const Run& run : runs_[static_cast<int>(split)][l]) {
        for (int64_t i = 0; i < run.count; ++i) {
          std::vector<SourceRun>& of = found[l].at(run.shard->source()[run.first + i]);
          const int64_t number = run.begin + i;
          if (of.empty() || of.back().first + of.back().count != number) {
            of.push_back({of.empty() ? 0 : of.back().begin + of.back().count, number, 0});
          }
          ++of.back().count;
        }
      }
    }
  }
}

std::vector<DocumentStream> TokenCorpus::Streams(Split split, bool by_source) const {
  std::vector<DocumentStream> streams;
  for (int32_t l = 0; l < static_cast<int32_t>(languages().size()); ++l) {
    if (!by_source) {
      streams.push_back({l, kAllSources, languages()[l], NumDocuments(split, l),
                         NumLabels(split, l)});
      continue;
    }
    std::call_once(sources_found_, [this] { FindSources(); });
    for (int32_t s = 0; s < static_cast<int32_t>(sources().size()); ++s) {
      DocumentStream stream{l, s, StrCat(languages()[l], "/", sources()[s]), 0, 0};
      for (const SourceRun& run : source_runs_[static_cast<int>(split)][l][s]) {
        stream.documents += run.count;
        for (int64_t i = 0; i < run.count; ++i) {
          stream.labels += GetDocument(split, l, run.first + i).length - 1;
        }
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
  const TokenDocument document =
      GetDocument(split, stream.language, NumberInLanguage(split, stream, i));
  return DocumentHead{document.length, document.id};
}

absl::StatusOr<TokenDocument> TokenCorpus::Read(Split split, const DocumentStream& stream,
                                                int64_t i) const {
  return GetDocument(split, stream.language, NumberInLanguage(split, stream, i));
}

}  // namespace choir
