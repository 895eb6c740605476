// Which documents are worth training on, by simple counts. Each limit is one field of FilterLimits
// (data/clean/clean_config.h), in force where it is set.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "data/clean/clean_config.h"
#include "data/clean/text_survey.h"

namespace choir {

// The limits of a preset. kGopher: Rae et al. 2021, section A1.1 and table A1, without the stop
// words, which it has for English only.
FilterLimits PresetLimits(FilterPreset preset);

// `limits`, with what is unset there as in `fallback`.
FilterLimits WithFallback(FilterLimits limits, const FilterLimits& fallback);

// The limits of one language, ready for use. Immutable.
class DocumentFilter {
 public:
  // `language` as in the documents; its scripts are those of NormalLanguage(language). Without any
  // known script min_script_letters passes every document.
  DocumentFilter(const FilterLimits& limits, std::string_view language);

  // The name of the first limit that the text breaks, as in data/clean/reasons.h; null if none.
  const char* Reason(std::string_view text, const TextSurvey& survey) const;

 private:
  const char* SizeReason(const TextSurvey& survey) const;
  const char* CharacterReason(const TextSurvey& survey) const;
  const char* LineReason(std::string_view text) const;
  const char* NgramReason(const TextSurvey& survey) const;
  bool LacksStopWords(const TextSurvey& survey) const;

  const FilterLimits limits_;
  const std::vector<uint8_t> scripts_;
  absl::flat_hash_set<uint64_t> stop_words_;  // by Word::hash
};

}  // namespace choir
