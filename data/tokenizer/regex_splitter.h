// Splitting by a regular expression (PCRE2 with its compiler): the twin of the scanners, and what
// patterns without a scanner run through. \s is Unicode's White_Space as in the Rust libraries;
// \p{..} is as new as the PCRE2 that is installed, and its version is part of version().
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "data/tokenizer/splitter.h"

namespace choir {

// What happens to the matches; names as in Hugging Face files.
enum class SplitBehavior { kIsolated, kContiguous, kMergedWithPrevious, kMergedWithNext };

struct SplitRule {
  std::string regex;    // or, if empty, ...
  std::string literal;  // ... this text
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // what lies between the matches counts as matched, and they do not
};

// InvalidArgument if the expression does not compile, or can match the empty text.
absl::StatusOr<std::unique_ptr<Splitter>> MakeRegexSplitter(const SplitRule& rule);

// Each splits the pieces of the one before it.
std::unique_ptr<Splitter> MakeSplitSequence(std::vector<std::unique_ptr<Splitter>> steps);

}  // namespace choir
