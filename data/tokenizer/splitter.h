// Pre-tokenization: cutting a text into the pieces that merges never cross.
//
// The patterns of the common families (GPT-2, cl100k, Llama-3, o200k, Tekken, Qwen, DeepSeek-V3)
// have scanners written by hand over one frozen Unicode table; each does what its regular
// expression does, and the tests compare the two. Other patterns run through PCRE2.
//
// Pieces are contiguous and cover the text. What a regular expression leaves unmatched is a piece
// of its own, so that nothing is lost (the tiktoken library drops it). A byte that is not part of
// well-formed UTF-8 counts as one unassigned character.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace choir {

class Splitter {
 public:
  virtual ~Splitter() = default;
  // Appends the end of each piece of `text`, in order, the last one text.size(). Texts are below
  // 4 GiB. Safe from several threads.
  virtual void Split(std::string_view text, std::vector<uint32_t>& ends) const = 0;
  // What a fingerprint must hold besides the pattern: the version of Unicode.
  virtual std::string version() const = 0;
};

// A family of patterns: its name in configs and the regular expressions that a text is split by,
// one after the other, as a Hugging Face file writes them.
struct PatternFamily {
  const char* name;
  std::vector<std::string_view> regexes;
};
const std::vector<PatternFamily>& PatternFamilies();
// `gpt2, cl100k, ...`
std::string PatternFamilyNames();

// The scanner of a family; InvalidArgument with the known names otherwise.
absl::StatusOr<std::unique_ptr<Splitter>> MakeFamilySplitter(std::string_view name);

// The family whose expressions these are, however they spell \r and \n; null if there is none.
const PatternFamily* FindFamily(const std::vector<std::string>& regexes);
// The family of that name, or null.
const PatternFamily* FindFamilyByName(std::string_view name);

}  // namespace choir
