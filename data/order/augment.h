// What is done to documents before they are packed, so that lengths are exact: the random split of
// merged punctuation, then fill-in-the-middle. What becomes of a document is a pure function of
// (settings, tokenizer, data.seed, document id, epoch).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/order/packing_config.h"
#include "data/shard/corpus.h"
#include "data/tokenizer/tokenizer.h"

namespace choir {

// The tokens of one document as they are packed. Borrows the document's, or owns changed ones.
class DocumentView {
 public:
  explicit DocumentView(const TokenDocument& document) : document_(document) {}
  explicit DocumentView(std::vector<int32_t> tokens) : changed_(true), tokens_(std::move(tokens)) {}

  int64_t length() const {
    return changed_ ? static_cast<int64_t>(tokens_.size()) : document_.length;
  }
  // Tokens [first, first + count), within length().
  void CopyTo(int64_t first, int64_t count, int32_t* out) const;

 private:
  TokenDocument document_;
  bool changed_ = false;
  std::vector<int32_t> tokens_;
};

class Augmenter {
 public:
  // Changes nothing.
  Augmenter() = default;
  // InvalidArgument, with the key and what to do, if the tokenizer has no tokens of a name, or none
  // that could be split.
  static absl::StatusOr<Augmenter> Make(const PackingConfig& config, const Tokenizer& tokenizer,
                                        uint64_t seed);
  bool active() const { return active_; }
  // Whether the settings change any document; if not, no tokenizer is needed.
  static bool IsWanted(const PackingConfig& config) {
    return config.fim_rate > 0 || config.split_punctuation > 0;
  }

  // - split_punctuation: each token of punctuation followed by line breaks becomes, at that rate,
  //   the token of the punctuation and that of the line breaks (DeepSeek-AI: "DeepSeek-V3 technical
  //   report", 2024, section 4.1), where the tokenizer has both.
  // - fim_rate (Bavarian et al.: "Efficient training of language models to fill in the middle",
  //   2022; at the level of tokens, at uniform places): beginning, then
  //     PSM: <prefix> prefix <suffix> suffix <middle> middle, end
  //     SPM: <prefix> <suffix> suffix <middle> prefix middle, end  (their appendix D, variant 2)
  DocumentView Augment(const TokenDocument& document, int64_t epoch) const;

 private:
  struct Split {
    int32_t punctuation = -1;
    int32_t line_breaks = -1;
  };
  absl::Status FindSplits(const Tokenizer& tokenizer);

  bool active_ = false;
  PackingConfig config_;
  uint64_t seed_ = 0;
  int32_t prefix_id_ = -1;
  int32_t middle_id_ = -1;
  int32_t suffix_id_ = -1;
  std::vector<Split> splits_;  // by token; empty if none is to be split
};

}  // namespace choir
