// How well languages are identified, measured on a labelled corpus.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "data/clean/clean_config.h"

namespace choir {

struct LangidOptions {
  std::string corpus;            // folder with heldout/<language>.jsonl
  LanguageIdConfig identifier;   // model empty: <corpus>/langid.ftz if it is there
  bool cld2_only = false;        // no model at all
  int64_t min_characters = 200;  // shorter documents are left out
  bool json = false;
};

// `choir data langid CORPUS`: identifies the held-out documents and prints, by language, how many
// are identified as what their file says, and what they are mostly taken for otherwise.
absl::Status PrintLangidReport(const LangidOptions& options, std::ostream& out);

}  // namespace choir
