// What batches are made of: the documents of a corpus as tokens. Token shards (token_corpus.h), or
// raw text that is tokenized on the way (data/loader/text_corpus.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/shard/corpus_index.h"
#include "data/shard/stream.h"
#include "data/tokenizer/tokenizer.h"

namespace choir {

// One document: beginning-of-text, text, end-of-text.
struct TokenDocument {
  const void* tokens = nullptr;  // u16 or u32
  bool wide = false;             // u32
  int64_t length = 0;            // tokens
  int64_t bytes = 0;             // of the text
  int32_t source = 0;
  uint64_t id = 0;     // XXH3-64 of the document's id
  uint64_t group = 0;  // XXH3-64 of its group: documents of a group share a split
  // Owns the tokens; null where the corpus does.
  std::shared_ptr<const void> keep;

  int32_t token(int64_t i) const {
    return wide ? static_cast<int32_t>(static_cast<const uint32_t*>(tokens)[i])
                : static_cast<const uint16_t*>(tokens)[i];
  }
};

// What the order of documents needs to know of one.
struct DocumentHead {
  int64_t length = 0;  // tokens; 0: the document is left out
  uint64_t id = 0;
  int32_t source = 0;
};

class Corpus {
 public:
  virtual ~Corpus() = default;

  virtual const std::string& directory() const = 0;
  virtual const std::vector<std::string>& languages() const = 0;
  virtual const std::vector<std::string>& sources() const = 0;
  virtual const TokenizerInfo& tokenizer() const = 0;
  virtual std::string tokenizer_path() const = 0;
  // Changes with what documents there are, their order and their tokens.
  virtual const std::string& fingerprint() const = 0;
  // Opens the tokenizer; DataLoss if it is not the one that tokenizer() describes.
  absl::StatusOr<std::unique_ptr<Tokenizer>> OpenItsTokenizer() const;

  // The documents of a split as streams, ordered by language: one for each language, or one for
  // each source of each.
  virtual absl::StatusOr<std::vector<DocumentStream>> Streams(Split split,
                                                              bool by_source) const = 0;
  // Document i of one of Streams(split, ..), 0 <= i < documents. From any thread. DataLoss names
  // what is damaged.
  virtual absl::StatusOr<DocumentHead> Head(Split split, const DocumentStream& stream,
                                            int64_t i) const = 0;
  virtual absl::StatusOr<TokenDocument> Read(Split split, const DocumentStream& stream,
                                             int64_t i) const = 0;
};

}  // namespace choir
