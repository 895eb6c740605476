// The tokenizer section of a data build's config.
#pragma once

#include <cstdint>
#include <string>

#include "base/config_load.h"

namespace choir {

enum class TokenizerKind { kSentencePiece, kBpe };
template <>
struct EnumNames<TokenizerKind> {
  static constexpr EnumName<TokenizerKind> kAll[] = {
      {TokenizerKind::kSentencePiece, "sentencepiece"}, {TokenizerKind::kBpe, "bpe"}};
};

struct TokenizerConfig {
  std::string model;
  TokenizerKind kind = TokenizerKind::kSentencePiece;
  int64_t vocab_size = 8192;
  int64_t sample_bytes_per_language = 250'000;
  double character_coverage = 0.998;
  std::string pattern = "llama3";
  int64_t min_frequency = 2;
  int64_t seed = 1;

  void Visit(auto&& v) {
    v("model", model,
      "the tokenizer's file: written by `choir tokenizer train`, or any that "
      "docs/tokenizers.md lists",
      Required(), NonEmpty());
    v("kind", kind, "what is trained: a SentencePiece model, or byte-level BPE as tokenizer.json");
    v("vocab_size", vocab_size, "number of ids, 260 of which are bytes and special",
      InRange(300, 1 << 20));
    v("sample_bytes_per_language", sample_bytes_per_language,
      "training text by language, about; the same for all so that none dominates", AtLeast(1));
    v("character_coverage", character_coverage,
      "of sentencepiece: share of the sample's characters that get an id; the others are spelt in "
      "bytes",
      InRange(0.98, 1));
    v("pattern", pattern,
      "of bpe: how text is split: gpt2, llama3, o200k, tekken, qwen2, qwen3.5 or deepseek");
    v("min_frequency", min_frequency, "of bpe: a pair that is rarer in the sample is not merged",
      AtLeast(1));
    v("seed", seed, "of the sample", AtLeast(0));
  }
  void Check(ConfigErrors& errors) const;
};

}  // namespace choir
