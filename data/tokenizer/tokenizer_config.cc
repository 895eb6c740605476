#include "data/tokenizer/tokenizer_config.h"

#include "base/strings.h"
#include "data/tokenizer/splitter.h"

namespace choir {

void TokenizerConfig::Check(ConfigErrors& errors) const {
  if (FindFamilyByName(pattern) == nullptr) {
    errors.Add("pattern", StrCat("must be ", PatternFamilyNames(), ", got '", pattern, "'"));
  }
  if (kind != TokenizerKind::kBpe) return;
  if (pattern == "cl100k") {
    // Its interval {1,3}+ means something else to the library that reads a tokenizer.json.
    errors.Add(
        "pattern",
        "cannot be cl100k in a tokenizer.json; llama3 is the same but for white space at the "
        "end of a text");
  }
  if (!model.ends_with("tokenizer.json")) {
    errors.Add("model",
               StrCat("must be named tokenizer.json if tokenizer.kind is bpe, so that other "
                      "libraries find it, got '",
                      model, "'"));
  }
}

}  // namespace choir
