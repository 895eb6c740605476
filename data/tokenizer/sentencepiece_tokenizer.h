// SentencePiece models (https://github.com/google/sentencepiece) with byte fallback, made exact on
// any bytes: what the library would change (U+2581, which it uses for a space, and bytes that are
// no UTF-8) is spelt in byte tokens, and ids are turned into bytes by our own table.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "data/tokenizer/sentencepiece_model.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_config.h"

namespace choir {

class SentencePieceTokenizer : public Tokenizer {
 public:
  // `name` is what errors call the model. Refused: a model without byte fallback, with
  // normalisation, with a dummy prefix, or without the ids of beginning, end and padding.
  static absl::StatusOr<std::unique_ptr<SentencePieceTokenizer>> FromModel(std::string model,
                                                                           const std::string& name);

  using Tokenizer::Encode;
  void Encode(std::string_view text, std::vector<int32_t>& ids) const override;
  std::string_view Bytes(int32_t id) const override;
  int32_t FindId(std::string_view name) const override;
  int64_t vocab_size() const override { return static_cast<int64_t>(bytes_.size()); }
  int32_t bos_id() const override { return bos_id_; }
  int32_t eos_id() const override { return eos_id_; }
  int32_t pad_id() const override { return pad_id_; }
  const std::string& fingerprint() const override { return fingerprint_; }

 private:
  SentencePieceTokenizer() = default;
  absl::Status ReadPieces(const std::string& name);
  absl::Status CheckExact(const std::string& name) const;
  void EncodeBytes(std::string_view bytes, std::vector<int32_t>& ids) const;

  std::unique_ptr<SentencePieceModel> model_;
  std::vector<std::string> bytes_;  // by id
  std::vector<int32_t> byte_ids_;   // 256
  int32_t bos_id_ = -1;
  int32_t eos_id_ = -1;
  int32_t pad_id_ = -1;
  std::string fingerprint_;
};

// Trains a BPE model with byte fallback and identity normalisation and returns its bytes. The same
// text gives the same bytes. Ids: 0 unknown (never produced), 1 beginning, 2 end, 3 padding, 4..259
// bytes. `sentences` must not hold line breaks.
absl::StatusOr<std::string> TrainSentencePiece(const std::vector<std::string>& sentences,
                                               const TokenizerConfig& config);

}  // namespace choir
