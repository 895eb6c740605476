// The seam between text and token ids. Encode and Decode are exact inverses on any bytes, but where
// the tokenizer's file asks for normalisation (lossless() is then false).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace choir {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Appends the ids of `text`; no beginning or end is added. Safe from several threads.
  virtual void Encode(std::string_view text, std::vector<int32_t>& ids) const = 0;
  std::vector<int32_t> Encode(std::string_view text) const {
    std::vector<int32_t> ids;
    Encode(text, ids);
    return ids;
  }
  // As Encode, but text that spells a special token becomes it. For text that is trusted.
  virtual void EncodeWithSpecial(std::string_view text, std::vector<int32_t>& ids) const {
    Encode(text, ids);
  }
  // The bytes that one id stands for; empty for the special ids. CHECKs the range.
  virtual std::string_view Bytes(int32_t id) const = 0;
  // The bytes of all ids in a row.
  std::string Decode(std::span<const int32_t> ids) const {
    std::string text;
    for (const int32_t id : ids) text += Bytes(id);
    return text;
  }

  // The id of a token by its name, for example "<|fim_prefix|>", also of one that text never
  // becomes; -1 if there is none.
  virtual int32_t FindId(std::string_view name) const {
    for (int32_t id = 0; id < vocab_size(); ++id) {
      if (Bytes(id) == name) return id;
    }
    return -1;
  }

  // Whether Decode(Encode(text)) is the text, always; else it is the text normalised.
  virtual bool lossless() const { return true; }

  virtual int64_t vocab_size() const = 0;
  virtual int32_t bos_id() const = 0;
  virtual int32_t eos_id() const = 0;
  virtual int32_t pad_id() const = 0;
  // Changes whenever any text could be encoded differently: 32 hexadecimal digits.
  virtual const std::string& fingerprint() const = 0;
};

// Opens a tokenizer by what its file holds: a SentencePiece model, a tokenizer.json of Hugging Face
// (data/tokenizer/hugging_face.h), or tiktoken's ranks (data/tokenizer/rank_file.h). Of the last
// two tokenizer_config.json and special_tokens_map.json beside the file name the special tokens;
// else common names do.
absl::StatusOr<std::unique_ptr<Tokenizer>> OpenTokenizer(const std::string& path);

// The name that a copy of it gets: tokenizer.model, tokenizer.json or tokenizer.tiktoken.
absl::StatusOr<std::string> TokenizerFileName(const std::string& path);

// Copies a tokenizer into a folder under that name, and what was found beside it into a
// tokenizer_config.json, so that OpenTokenizer of the copy is the same tokenizer.
absl::Status CopyTokenizer(const std::string& path, const std::string& folder);

// The path of the tokenizer that CopyTokenizer left in a folder; NotFound if there is none.
absl::StatusOr<std::string> FindTokenizer(const std::string& folder);

}  // namespace choir
