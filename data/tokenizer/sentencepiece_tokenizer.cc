#include "data/tokenizer/sentencepiece_tokenizer.h"

#include <unordered_map>

#include "base/check.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/text/utf8.h"

namespace choir {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

// Version of what this file does around the library; part of the fingerprint.
constexpr std::string_view kScheme = "sentencepiece-exact-1";

// The value of a byte piece such as <0x0A>.
unsigned char ByteOfPiece(const std::string& piece) {
  return static_cast<unsigned char>(std::stoi(piece.substr(3, 2), nullptr, 16));
}

}  // namespace

absl::StatusOr<std::unique_ptr<SentencePieceTokenizer>> SentencePieceTokenizer::FromModel(
    std::string model, const std::string& name) {
  std::unique_ptr<SentencePieceTokenizer> tokenizer(new SentencePieceTokenizer);
  std::string error;
  tokenizer->model_ = SentencePieceModel::Load(model, error);
  if (tokenizer->model_ == nullptr) {
    return absl::InvalidArgumentError(StrCat(name, ": not a SentencePiece model: ", error));
  }
  RETURN_IF_ERROR(tokenizer->ReadPieces(name));
  RETURN_IF_ERROR(tokenizer->CheckExact(name));
  tokenizer->fingerprint_ = ToHex(HashOf128(StrCat(kScheme, "\n", model)));
  return tokenizer;
}

absl::Status SentencePieceTokenizer::ReadPieces(const std::string& name) {
  const int size = model_->size();
  bytes_.resize(size);
  byte_ids_.assign(256, -1);
  for (int id = 0; id < size; ++id) {
    const std::string piece = model_->Piece(id);
    if (model_->IsByte(id)) {
      const unsigned char byte = ByteOfPiece(piece);
      bytes_[id].assign(1, static_cast<char>(byte));
      byte_ids_[byte] = id;
    } else if (!model_->IsSpecial(id)) {
      std::string_view rest = piece;
      for (size_t at; (at = rest.find(kSpaceMark)) != rest.npos;) {
        bytes_[id].append(rest.substr(0, at)).append(" ");
        rest.remove_prefix(at + kSpaceMark.size());
      }
      bytes_[id].append(rest);
    }
  }
  for (const int32_t id : byte_ids_) {
    if (id < 0) {
      return absl::InvalidArgumentError(
          StrCat(name,
                 ": the model has no byte fallback, so that text would be lost; train it with "
                 "--byte_fallback"));
    }
  }
  bos_id_ = model_->bos_id();
  eos_id_ = model_->eos_id();
  pad_id_ = model_->pad_id();
  if (bos_id_ < 0 || eos_id_ < 0 || pad_id_ < 0) {
    return absl::InvalidArgumentError(
        StrCat(name, ": the model needs ids for beginning, end and padding (bos ", bos_id_,
               ", eos ", eos_id_, ", pad ", pad_id_, ")"));
  }
  return absl::OkStatus();
}

// Normalisation and the dummy prefix are visible in what comes back from probes: spaces that would
// be trimmed or folded, and characters that NFKC, the library's default, would replace.
absl::Status SentencePieceTokenizer::CheckExact(const std::string& name) const {
  for (const std::string_view probe :
       {"a", " a", "a ", "a  b", "\n\n\ta \r\n", "\xEF\xAC\x81", "\xEF\xBC\xA1", "A\xCC\x8A",
        "\xE3\x80\x80", "\xC2\xA0", "\xE2\x80\x8B", "\xEF\xBB\xBF"}) {
    if (Decode(Tokenizer::Encode(probe)) != probe) {
      return absl::InvalidArgumentError(
          StrCat(name,
                 ": the model changes text (normalisation, extra white space or a dummy "
                 "prefix); train it with identity normalisation"));
    }
  }
  return absl::OkStatus();
}

void SentencePieceTokenizer::EncodeBytes(std::string_view bytes, std::vector<int32_t>& ids) const {
  for (const char byte : bytes) ids.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
}

void SentencePieceTokenizer::Encode(std::string_view text, std::vector<int32_t>& ids) const {
  std::vector<int> run_ids;
  while (!text.empty()) {
    // The longest run that the library keeps, then what it would change.
    size_t run = 0;
    while (run < text.size() && text.compare(run, kSpaceMark.size(), kSpaceMark) != 0) {
      const size_t length = Utf8Length(text.substr(run));
      if (length == 0) break;
      run += length;
    }
    if (run > 0) {
      model_->Encode(text.substr(0, run), run_ids);
      ids.insert(ids.end(), run_ids.begin(), run_ids.end());
      text.remove_prefix(run);
    }
    if (text.empty()) break;
    const size_t odd = text.starts_with(kSpaceMark) ? kSpaceMark.size() : 1;
    EncodeBytes(text.substr(0, odd), ids);
    text.remove_prefix(odd);
  }
}

std::string_view SentencePieceTokenizer::Bytes(int32_t id) const {
  CHECK(id >= 0 && static_cast<size_t>(id) < bytes_.size())
      << "token id " << id << " of a vocabulary of " << bytes_.size();
  return bytes_[id];
}

int32_t SentencePieceTokenizer::FindId(std::string_view name) const {
  for (int id = 0; id < model_->size(); ++id) {
    if (model_->Piece(id) == name) return id;
  }
  return -1;
}

absl::StatusOr<std::string> TrainSentencePiece(const std::vector<std::string>& sentences,
                                               const TokenizerConfig& config) {
  const std::unordered_map<std::string, std::string> arguments = {
      {"model_type", "bpe"},
      {"vocab_size", StrCat(config.vocab_size)},
      {"character_coverage", ShortestDouble(config.character_coverage)},
      {"byte_fallback", "true"},
      {"normalization_rule_name", "identity"},
      {"remove_extra_whitespaces", "false"},
      {"add_dummy_prefix", "false"},
      {"split_digits", "true"},
      {"unk_id", "0"},
      {"bos_id", "1"},
      {"eos_id", "2"},
      {"pad_id", "3"},
      {"max_sentence_length", "65536"},
      {"num_threads", "1"},
      {"minloglevel", "2"}};
  std::string error;
  std::string model = TrainSentencePieceModel(arguments, sentences, error);
  if (model.empty()) {
    return absl::InvalidArgumentError(
        StrCat("the tokenizer could not be trained: ", error, " (vocab_size ", config.vocab_size,
               " asks for more pieces than the sample has if it is too large for it)"));
  }
  return model;
}

}  // namespace choir
