// A folder of token shards, open for reading through memory maps. The format is in docs/data.md.
//
// Opening costs a few small reads a shard. Tokens and tables are verified by chunk when they are
// first touched, so that nothing unverified is ever given; see damage().
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/shard/corpus_index.h"
#include "data/tokenizer/tokenizer.h"

namespace choir {

class ShardReader;

// One document: beginning-of-text, text, end-of-text.
struct TokenDocument {
  const void* tokens = nullptr;  // in the mapped shard, u16 or u32
  bool wide = false;             // u32
  int64_t length = 0;            // tokens
  int64_t bytes = 0;             // of the text
  int32_t source = 0;
  uint64_t id = 0;     // XXH3-64 of the document's id
  uint64_t group = 0;  // XXH3-64 of its group: documents of a group share a split

  int32_t token(int64_t i) const {
    return wide ? static_cast<int32_t>(static_cast<const uint32_t*>(tokens)[i])
                : static_cast<const uint16_t*>(tokens)[i];
  }
};

class TokenCorpus {
 public:
  // DataLoss names a shard that is damaged; NotFound what is missing.
  static absl::StatusOr<std::shared_ptr<const TokenCorpus>> Open(const std::string& directory);
  ~TokenCorpus();

  const std::string& directory() const { return directory_; }
  const CorpusIndex& index() const { return index_; }
  const std::vector<std::string>& languages() const { return index_.languages; }
  const std::vector<std::string>& sources() const { return index_.sources; }
  const TokenizerInfo& tokenizer() const { return index_.tokenizer; }
  // The tokenizer's file, beside the shards.
  std::string tokenizer_path() const;
  // Opens it; DataLoss if it is not the one that made the shards.
  absl::StatusOr<std::unique_ptr<Tokenizer>> OpenItsTokenizer() const;

  int64_t NumDocuments(Split split, int32_t language) const;
  // Labels: tokens of the documents less one each.
  int64_t NumLabels(Split split, int32_t language) const;
  // Document `i` of a language in the order of the shards, 0 <= i < NumDocuments. DataLoss names
  // the damaged chunk that it lies in.
  absl::StatusOr<TokenDocument> ReadDocument(Split split, int32_t language, int64_t i) const;
  // Its length alone: no token is touched.
  absl::StatusOr<int64_t> ReadLength(Split split, int32_t language, int64_t i) const;

  // The same for callers that ask once for many documents: where a chunk is damaged the document
  // holds zeros, and damage() says so.
  TokenDocument GetDocument(Split split, int32_t language, int64_t i) const;
  int64_t DocumentLength(Split split, int32_t language, int64_t i) const;
  // OK, or DataLoss for the first damaged chunk that these two met. Whoever uses documents asks
  // before what was made of them is used. From any thread; cheap.
  absl::Status damage() const;

 private:
  TokenCorpus() = default;
  absl::Status OpenShards();

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
  // Remembers the damage and returns a document of zeros.
  TokenDocument Spoilt(Split split, int32_t language, int64_t i, const absl::Status& damage) const;

  std::string directory_;
  CorpusIndex index_;
  std::vector<std::unique_ptr<ShardReader>> shards_;
  std::vector<std::vector<Run>> runs_[kNumSplits];  // by language

  mutable std::atomic<bool> damaged_ = false;
  mutable std::mutex mutex_;  // guards what follows
  mutable absl::Status damage_;
  mutable std::deque<std::vector<uint32_t>> zeros_;  // never moved: documents point at them
};

}  // namespace choir
