// Byte-level BPE behind the seam of data/tokenizer/tokenizer.h.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "data/tokenizer/added_tokens.h"
#include "data/tokenizer/bpe_encoder.h"
#include "data/tokenizer/special_tokens.h"
#include "data/tokenizer/splitter.h"
#include "data/tokenizer/tokenizer.h"

namespace choir {

// What a tokenizer's file says.
struct BpeSpec {
  std::string name;          // what errors call it
  BpeVocabulary vocabulary;  // text tokens only
  std::vector<AddedToken> added;
  std::unique_ptr<Splitter> splitter;
  bool nfc = false;           // text is normalised first
  bool prefix_space = false;  // a space is put before what does not begin with one
  std::string identity;       // all of the above, for the fingerprint
};

class BpeTokenizer : public Tokenizer {
 public:
  // `sources` are what names the special tokens, the most important first.
  static absl::StatusOr<std::unique_ptr<BpeTokenizer>> Make(
      BpeSpec spec, const std::vector<SpecialNames>& sources);

  using Tokenizer::Encode;
  // Text that spells a special token is text. Added tokens that are not special are found, unless
  // they would swallow white space.
  void Encode(std::string_view text, std::vector<int32_t>& ids) const override;
  void EncodeWithSpecial(std::string_view text, std::vector<int32_t>& ids) const override;
  std::string_view Bytes(int32_t id) const override;
  int32_t FindId(std::string_view name) const override;
  int64_t vocab_size() const override { return static_cast<int64_t>(bytes_.size()); }
  int32_t bos_id() const override { return special_.bos; }
  int32_t eos_id() const override { return special_.eos; }
  int32_t pad_id() const override { return special_.pad; }
  const std::string& fingerprint() const override { return fingerprint_; }
  bool lossless() const override { return !nfc_ && !prefix_space_; }

 private:
  // The tokens found before and after normalisation.
  struct Finders {
    AddedTokenFinder raw, normalized;
  };
  BpeTokenizer(BpeSpec spec, BpeModel model, SpecialIds special);
  static Finders MakeFinders(const std::vector<AddedToken>& tokens);
  void EncodeSegments(std::string_view text, const Finders& finders,
                      std::vector<int32_t>& ids) const;
  void EncodeText(std::string_view text, std::vector<int32_t>& ids) const;

  std::unique_ptr<Splitter> splitter_;
  BpeEncoder encoder_;
  bool nfc_, prefix_space_;
  Finders text_tokens_, all_tokens_;
  std::vector<std::string> bytes_;  // by id
  std::vector<AddedToken> added_;
  SpecialIds special_;
  std::string fingerprint_;
};

}  // namespace choir
