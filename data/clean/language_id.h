// Which language a text is in.
//
// Two judges: a fastText model (LanguageIdConfig::model), if there is one, and CLD2, whose tables
// are compiled in. The model is asked first. Where its score is below sure_score, CLD2 is asked
// too: if both name one language, the higher score counts; if they differ, the model's answer stays
// with its low score, unless CLD2 is reliable by its own measure and the model's score is below
// min_score, then CLD2's does. Without a model CLD2 answers alone; what it calls unreliable has
// half the share of the text that it names.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "data/clean/clean_config.h"
#include "data/clean/fasttext_model.h"

namespace choir {

struct LanguageGuess {
  std::string language;  // as NormalLanguage gives it; empty: no idea
  double score = 0;      // from 0 to 1
};

class LanguageIdentifier {
 public:
  // Errors: those of the model's file; neither model nor CLD2.
  static absl::StatusOr<std::unique_ptr<LanguageIdentifier>> Make(const LanguageIdConfig& config);

  // The language of valid UTF-8, of which sample_bytes are looked at. Pure; thread-safe.
  LanguageGuess Identify(std::string_view text) const;

 private:
  explicit LanguageIdentifier(const LanguageIdConfig& config) : config_(config) {}

  const LanguageIdConfig config_;
  std::unique_ptr<FastTextModel> model_;
  std::vector<std::string> languages_;  // by label of the model
};

// At most about `bytes` of valid UTF-8 (all of it for 0) as one line: thirds from the beginning,
// the middle and the end, cut between characters.
std::string LanguageSample(std::string_view text, int64_t bytes);

}  // namespace choir
