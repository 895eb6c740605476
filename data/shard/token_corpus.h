// A folder of token shards, open for reading through memory maps. The format is in docs/data.md.
//
// Opening costs a few small reads a shard. Tokens and tables are verified by chunk when they are
// first touched, so that nothing unverified is ever given.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/shard/corpus.h"

namespace choir {

class ShardReader;

class TokenCorpus : public Corpus {
 public:
  // DataLoss names a shard that is damaged; NotFound what is missing.
  static absl::StatusOr<std::shared_ptr<const TokenCorpus>> Open(const std::string& directory);
  ~TokenCorpus() override;

  const CorpusIndex& index() const { return index_; }
  const std::string& directory() const override { return directory_; }
  const std::vector<std::string>& languages() const override { return index_.languages; }
  const std::vector<std::string>& sources() const override { return index_.sources; }
  const TokenizerInfo& tokenizer() const override { return index_.tokenizer; }
  // The tokenizer's file, beside the shards.
  std::string tokenizer_path() const override;
  const std::string& fingerprint() const override { return index_.fingerprint; }
  absl::StatusOr<std::vector<DocumentStream>> Streams(Split split, bool by_source) const override;
  absl::StatusOr<DocumentHead> Head(Split split, const DocumentStream& stream,
                                    int64_t i) const override;
  absl::StatusOr<TokenDocument> Read(Split split, const DocumentStream& stream,
                                     int64_t i) const override;

  int64_t NumDocuments(Split split, int32_t language) const;
  // Labels: tokens of the documents less one each.
  int64_t NumLabels(Split split, int32_t language) const;
  // Document `i` of a language in the order of the shards, 0 <= i < NumDocuments. DataLoss if a
  // chunk of it is damaged. From any thread; cheap.
  absl::StatusOr<TokenDocument> GetDocument(Split split, int32_t language, int64_t i) const;
  // Its length and id alone: no token is touched.
  absl::StatusOr<DocumentHead> GetHead(Split split, int32_t language, int64_t i) const;

 private:
  TokenCorpus() = default;
  absl::Status OpenShards();
  // Consecutive documents of one source: `first` and on of the language, `begin` and on of the
  // stream.
  struct SourceRun {
    int64_t begin = 0;
    int64_t first = 0;
    int64_t count = 0;
    int64_t labels = 0;
  };
  using SourceRuns = std::vector<std::vector<std::vector<SourceRun>>>;  // by language, source
  absl::Status FindSources() const;
  int64_t NumberInLanguage(Split split, const DocumentStream& stream, int64_t i) const;

  // Documents [first, first + count) of a shard, which are begin, begin + 1, ... of a language.
  struct Run {
    int64_t begin = 0;
    int64_t count = 0;
    int64_t first = 0;
    int64_t tokens = 0;
    const ShardReader* shard = nullptr;
  };
  struct Place {
    const ShardReader* shard = nullptr;
    int64_t document = 0;  // of the shard
  };
  Place Find(Split split, int32_t language, int64_t i) const;

  std::string directory_;
  CorpusIndex index_;
  std::vector<std::unique_ptr<ShardReader>> shards_;
  std::vector<std::vector<Run>> runs_[kNumSplits];  // by language
  mutable std::once_flag sources_found_;
  mutable absl::Status sources_status_;
  mutable SourceRuns source_runs_[kNumSplits];  // once streams by source were asked for
};

// Document `document` of one shard, 0 <= document < documents(). DataLoss if a chunk of it is
// damaged. From any thread.
absl::StatusOr<TokenDocument> ReadShardDocument(const ShardReader& shard, int64_t document);

}  // namespace choir
