// The library behind data/tokenizer/sentencepiece_tokenizer.h, in standard types only: its headers
// define absl::string_view in their own way and cannot be read together with Abseil's.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace choir {

class SentencePieceModel {
 public:
  // Null, and why in `error`, if the bytes are no model.
  static std::unique_ptr<SentencePieceModel> Load(const std::string& bytes, std::string& error);
  ~SentencePieceModel();

  int size() const;
  std::string Piece(int id) const;
  bool IsByte(int id) const;
  // Control or unknown: stands for no text.
  bool IsSpecial(int id) const;
  int bos_id() const;
  int eos_id() const;
  int pad_id() const;
  // Overwrites `ids`. Valid UTF-8 only. Safe from several threads.
  void Encode(std::string_view text, std::vector<int>& ids) const;

 private:
  SentencePieceModel();
  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
};

// The bytes of a trained model; empty, and why in `error`, on failure. `arguments` are those of
// spm_train without the dashes.
std::string TrainSentencePieceModel(const std::unordered_map<std::string, std::string>& arguments,
                                    const std::vector<std::string>& sentences, std::string& error);

}  // namespace choir
