// tiktoken's rank files: a line for each token, its bytes in base64, a space, its rank, which is
// also its id. The file does not say how text is split nor which tokens are special: that comes
// from `pattern` and `special_tokens` in a tokenizer_config.json beside it, or from its name
// (cl100k_base.tiktoken, o200k_base, o200k_harmony, r50k_base, p50k_base, qwen, llama3).
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "data/tokenizer/bpe_tokenizer.h"

namespace choir {

struct RankSettings {
  std::string pattern;  // a family's name, or a regular expression
  std::map<std::string, int32_t> special_tokens;
};

// True if the first line looks like one of a rank file.
bool LooksLikeRanks(const std::string& content);

// From the text of tokenizer_config.json; `pattern` is empty if it has none.
absl::StatusOr<RankSettings> ReadRankSettings(const std::string& json, const std::string& name);
// By the name of the file at `path`; NotFound if the name is not known.
absl::StatusOr<RankSettings> RankSettingsOfName(const std::string& path);

absl::StatusOr<BpeSpec> ReadRanks(const std::string& content, const RankSettings& settings,
                                  const std::string& name);

}  // namespace choir
