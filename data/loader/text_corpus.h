// Raw text as a corpus: documents are read, cleaned and tokenized when they are drawn, so that
// training starts without a build.
//
// A document and its tokens are a pure function of the files, the settings and its number, so the
// order of data/order/lane.h and everything that rests on it hold as for shards. Tokens are kept in
// a bounded cache: what is asked for again (its length first, its tokens later) is made once more
// if it had to go.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "absl/status/statusor.h"
#include "data/build/build_config.h"
#include "data/clean/cleaner.h"
#include "data/data_config.h"
#include "data/shard/corpus.h"
#include "data/text/text_index.h"

namespace choir {

class TextCorpus : public Corpus {
 public:
  // `build` is the config of `choir data build`, read from `name`: its corpus, clean and tokenizer
  // hold, its shards do not. Refused: deduplication and shards.max_bytes_per_language, which need
  // the whole corpus before its first document. Errors: those of TextIndex, Cleaner and
  // OpenTokenizer.
  static absl::StatusOr<std::shared_ptr<const TextCorpus>> Open(const DataBuildConfig& build,
                                                                const std::string& name,
                                                                const RawTextConfig& config);

  const std::string& directory() const override { return name_; }
  const std::vector<std::string>& languages() const override { return index_->languages(); }
  const std::vector<std::string>& sources() const override { return index_->sources(); }
  const TokenizerInfo& tokenizer() const override { return info_; }
  std::string tokenizer_path() const override { return info_.file; }
  const std::string& fingerprint() const override { return fingerprint_; }
  // Labels are estimated from the bytes and a few documents. InvalidArgument: by source.
  absl::StatusOr<std::vector<DocumentStream>> Streams(Split split, bool by_source) const override;
  absl::StatusOr<DocumentHead> Head(Split split, const DocumentStream& stream,
                                    int64_t i) const override;
  absl::StatusOr<TokenDocument> Read(Split split, const DocumentStream& stream,
                                     int64_t i) const override;

 private:
  struct Key {
    int split = 0;
    int32_t language = 0;
    int64_t number = 0;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const;
  };
  struct Entry {
    Key key;
    TokenDocument document;  // length 0: left out
    size_t bytes = 0;
  };

  TextCorpus() = default;
  absl::Status FindHeldoutGroups();
  // Labels by byte of text, over the first documents of each language.
  absl::Status EstimateLabels();
  absl::StatusOr<TokenDocument> Make(const Key& key) const;
  absl::StatusOr<TokenDocument> Get(const Key& key) const;
  void Keep(const Key& key, const TokenDocument& document) const;

  std::string name_;
  std::shared_ptr<const TextIndex> index_;
  std::unique_ptr<Cleaner> cleaner_;
  std::unique_ptr<Tokenizer> tokenizer_;
  TokenizerInfo info_;
  std::string fingerprint_;
  std::unordered_map<std::string, int32_t> source_numbers_;
  std::unordered_set<uint64_t> heldout_groups_;
  std::vector<double> labels_per_byte_;  // by language
  size_t cache_bytes_ = 0;

  mutable std::mutex mutex_;  // guards the cache
  mutable std::list<Entry> recent_;
  mutable std::unordered_map<Key, std::list<Entry>::iterator, KeyHash> entries_;
  mutable size_t bytes_ = 0;
};

// The corpus that a config names: the shards in data.path, or the text of data.text.
absl::StatusOr<std::shared_ptr<const Corpus>> OpenCorpus(const DataConfig& config);

}  // namespace choir
