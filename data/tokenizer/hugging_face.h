// tokenizer.json of Hugging Face `tokenizers`, as far as it is byte-level BPE.
//
// Read: normalizer (none, NFC, sequences of them), pre_tokenizer (Split, Digits, ByteLevel and
// sequences of them), model BPE (merges as "a b" or as pairs, ignore_merges), added_tokens. What
// else would change the ids is refused by its name. Not read: truncation, padding, post_processor
// (data/tokenizer/tokenizer.h adds no tokens to a text) and decoder.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "data/tokenizer/bpe_tokenizer.h"

namespace choir {

absl::StatusOr<BpeSpec> ReadHuggingFace(const std::string& json, const std::string& name);

// The character that stands for each byte in the vocabulary of such a file, as UTF-8: itself for
// printable Latin-1, U+0100 and up for the others (GPT-2's bytes_to_unicode).
std::string ByteLevelCharacter(unsigned char byte);

}  // namespace choir
