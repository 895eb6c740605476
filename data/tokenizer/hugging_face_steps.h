// The normalizer and pre_tokenizer of a tokenizer.json (data/tokenizer/hugging_face.h).
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "data/tokenizer/bpe_tokenizer.h"

namespace choir {

// Sets nfc.
absl::Status ReadNormalizer(const nlohmann::json& json, BpeSpec& spec);
// Sets splitter and prefix_space.
absl::Status ReadPreTokenizer(const nlohmann::json& json, BpeSpec& spec);

// The member `key`, or null; null too if `json` is no object.
const nlohmann::json& MemberOf(const nlohmann::json& json, const char* key);
// A bool member; `missing` if it is not there or not a bool.
bool FlagOf(const nlohmann::json& json, const char* key, bool missing);
// A text member; empty if it is not there or not text.
std::string TextOf(const nlohmann::json& json, const char* key);

}  // namespace choir
