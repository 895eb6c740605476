#include "data/clean/language_id.h"

#include <cstdio>
// CLD2's header needs <cstdio> and does not include it.
#include <cld2/public/compact_lang_det.h>

#include <algorithm>
#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "data/clean/code_points.h"
#include "data/clean/language_codes.h"

namespace choir {
namespace {

struct Cld2Answer {
  LanguageGuess guess;
  bool reliable = false;
};

// CLD2 looks at a few bytes behind the text: without known ones there, the same text could get
// another score.
constexpr size_t kBehind = 32;

Cld2Answer AskCld2(std::string line) {
  const auto size = static_cast<int>(line.size());
  line.append(kBehind, ' ');
  CLD2::Language languages[3];
  int percents[3];
  int text_bytes = 0;
  Cld2Answer answer;
  CLD2::DetectLanguageSummary(line.data(), size, true, languages, percents, &text_bytes,
                              &answer.reliable);
  if (languages[0] == CLD2::UNKNOWN_LANGUAGE) return {};
  answer.guess.language = NormalLanguage(CLD2::LanguageCode(languages[0]));
  answer.guess.score = (answer.reliable ? 0.01 : 0.005) * std::clamp(percents[0], 0, 100);
  return answer;
}

std::string_view FirstBytes(std::string_view text, size_t n) {
  if (n >= text.size()) return text;
  while (n > 0 && IsContinuation(text[n])) --n;
  return text.substr(0, n);
}

// From the first whole character at or behind `begin`.
std::string_view Window(std::string_view text, size_t begin, size_t n) {
  while (begin < text.size() && IsContinuation(text[begin])) ++begin;
  return FirstBytes(text.substr(begin), n);
}

}  // namespace

void LanguageIdConfig::Check(ConfigErrors& errors) const {
  if (action != LanguageAction::kOff && model.empty() && !cld2) {
    errors.Conflict({"cld2", "model"}, "must be true, or model must name a file");
  }
  if (sample_bytes != 0 && sample_bytes < 64) {
    errors.Add("sample_bytes", StrCat("must be 0 or at least 64, got ", sample_bytes));
  }
}

absl::StatusOr<std::unique_ptr<LanguageIdentifier>> LanguageIdentifier::Make(
    const LanguageIdConfig& config) {
  std::unique_ptr<LanguageIdentifier> identifier(new LanguageIdentifier(config));
  if (config.model.empty()) {
    if (config.cld2) return identifier;
    return absl::InvalidArgumentError("clean.language_id: neither model nor cld2 is set");
  }
  ASSIGN_OR_RETURN(identifier->model_, FastTextModel::Open(config.model));
  for (const std::string& label : identifier->model_->labels()) {
    identifier->languages_.push_back(NormalLanguage(label));
  }
  return identifier;
}

LanguageGuess LanguageIdentifier::Identify(std::string_view text) const {
  const std::string line = LanguageSample(text, config_.sample_bytes);
  if (model_ == nullptr) return AskCld2(line).guess;
  const FastTextPrediction prediction = model_->Predict(line);
  LanguageGuess guess;
  if (prediction.label >= 0) {
    guess = {languages_[static_cast<size_t>(prediction.label)], prediction.score};
  }
  if (guess.score >= config_.sure_score || !config_.cld2) return guess;
  const Cld2Answer second = AskCld2(line);
  if (second.guess.language == guess.language) {
    guess.score = std::max(guess.score, second.guess.score);
  } else if (second.reliable && guess.score < config_.min_score) {
    guess = second.guess;
  }
  return guess;
}

std::string LanguageSample(std::string_view text, int64_t bytes) {
  const auto size = static_cast<size_t>(bytes);
  std::string line;
  if (bytes == 0 || text.size() <= size) {
    line = text;
  } else {
    const size_t part = size / 3;
    line.reserve(size);
    line += FirstBytes(text, part);
    line += ' ';
    line += Window(text, text.size() / 2 - part / 2, part);
    line += ' ';
    line += Window(text, text.size() - part, part);
  }
  // One line for the model; CLD2 asks for text without controls.
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  return line;
}

}  // namespace choir
