#include "data/clean/cleaner.h"

#include <algorithm>
#include <set>

#include "base/status.h"
#include "base/strings.h"
#include "data/clean/code_points.h"
#include "data/clean/controls.h"
#include "data/clean/language_codes.h"
#include "data/clean/nfc.h"
#include "data/clean/reasons.h"
#include "data/clean/spaces.h"
#include "data/clean/text_survey.h"
#include "data/clean/utf8_repair.h"
#include "data/text/utf8.h"

namespace choir {
namespace {

constexpr size_t kMaxBytes = size_t{512} << 20;  // ICU counts bytes in 31 bits, and text may grow

bool SetsAnything(FilterLimits limits) {
  bool any = false;
  limits.Visit([&](const char*, auto& field, auto&&...) {
    if constexpr (ConfigOptional<std::decay_t<decltype(field)>>) {
      any = any || field.has_value();
    } else {
      any = any || !field.empty();
    }
  });
  return any;
}

}  // namespace

void FilterLimits::Check(ConfigErrors& errors) const {
  const auto ordered = [&](const char* low_name, const auto& low, const char* high_name,
                           const auto& high) {
    if (low.has_value() && high.has_value() && *low > *high) {
      errors.Conflict({low_name, high_name},
                      StrCat("must be at most ", high_name, ", got ", *low, " and ", *high));
    }
  };
  ordered("min_characters", min_characters, "max_characters", max_characters);
  ordered("min_words", min_words, "max_words", max_words);
  ordered("min_word_length", min_word_length, "max_word_length", max_word_length);
  for (size_t i = 0; i < stop_words.size(); ++i) {
    if (stop_words[i].empty()) errors.Add(StrCat("stop_words[", i, "]"), "must not be empty");
  }
}

void CleanConfig::Check(ConfigErrors& errors) const {
  std::set<std::string> seen;
  for (size_t i = 0; i < languages.size(); ++i) {
    if (!seen.insert(NormalLanguage(languages[i].language)).second) {
      errors.Add(StrCat("languages[", i, "].language"),
                 StrCat("'", languages[i].language, "' is listed twice"));
    }
  }
  if (filters.min_stop_words.has_value() && filters.stop_words.empty()) {
    for (const LanguageFilters& entry : languages) {
      if (!entry.limits.stop_words.empty()) return;
    }
    errors.Conflict({"filters.min_stop_words"}, "needs stop_words, here or in a language");
  }
}

absl::StatusOr<std::unique_ptr<Cleaner>> Cleaner::Make(const CleanConfig& config) {
  std::unique_ptr<Cleaner> cleaner(new Cleaner(config));
  if (config.language_id.action != LanguageAction::kOff) {
    ASSIGN_OR_RETURN(cleaner->identifier_, LanguageIdentifier::Make(config.language_id));
  }
  cleaner->filtering_ = SetsAnything(WithFallback(config.filters, PresetLimits(config.preset)));
  for (const LanguageFilters& entry : config.languages) {
    cleaner->filtering_ = cleaner->filtering_ || SetsAnything(entry.limits);
  }
  return cleaner;
}

const Cleaner::Rules& Cleaner::RulesFor(const std::string& language) const {
  const std::string normal = NormalLanguage(language);
  {
    std::shared_lock lock(mutex_);
    const auto it = rules_.find(normal);
    if (it != rules_.end()) return *it->second;
  }
  FilterLimits limits = WithFallback(config_.filters, PresetLimits(config_.preset));
  double min_score = config_.language_id.min_score;
  for (const LanguageFilters& entry : config_.languages) {
    if (NormalLanguage(entry.language) != normal) continue;
    limits = WithFallback(entry.limits, limits);
    min_score = entry.min_score.value_or(min_score);
  }
  std::lock_guard lock(mutex_);
  std::unique_ptr<const Rules>& rules = rules_[normal];
  if (rules == nullptr) rules.reset(new Rules{min_score, DocumentFilter(limits, normal)});
  return *rules;
}

const char* Cleaner::Edit(std::string& text, CleanVerdict& verdict) const {
  if (text.size() > kMaxBytes) return kOverSize;
  if (config_.utf8 == InvalidUtf8::kReject) {
    if (!IsValidUtf8(text)) return kNotUtf8;
  } else {
    verdict.repaired = RepairUtf8(text);
    if (verdict.repaired > 0) {
      const auto characters = static_cast<double>(CountCodePoints(text));
      if (static_cast<double>(verdict.repaired) > config_.max_repaired * characters) {
        return kNotUtf8;
      }
    }
  }
  if (config_.controls) RemoveControls(text);
  if (config_.nfc) NormalizeNfc(text);
  TidySpaces(config_.spaces, text);
  verdict.masked = MaskPii(config_.pii, text);
  return text.empty() ? kNoText : nullptr;
}

const char* Cleaner::JudgeLanguage(TextDocument& document, CleanVerdict& verdict) const {
  const LanguageIdConfig& config = config_.language_id;
  const LanguageGuess guess = identifier_->Identify(document.text);
  verdict.language = guess.language;
  verdict.language_score = guess.score;
  if (guess.language.empty()) return kUnsureLanguage;
  if (guess.score < RulesFor(guess.language).min_score) return kUnsureLanguage;
  if (config.action == LanguageAction::kAssign) {
    document.language = guess.language;
  } else if (NormalLanguage(document.language) != guess.language) {
    return kOtherLanguage;
  }
  const auto wanted = [&](const std::string& code) {
    return NormalLanguage(code) == guess.language;
  };
  const bool kept =
      config.only.empty() || std::any_of(config.only.begin(), config.only.end(), wanted);
  return kept ? nullptr : kUnwantedLanguage;
}

CleanVerdict Cleaner::Clean(TextDocument& document) const {
  CleanVerdict verdict;
  verdict.reason = Edit(document.text, verdict);
  if (verdict.reason != nullptr) return verdict;
  if (identifier_ != nullptr) verdict.reason = JudgeLanguage(document, verdict);
  if (verdict.reason != nullptr || !filtering_) return verdict;
  static thread_local TextSurvey survey;
  SurveyText(document.text, survey);
  verdict.reason = RulesFor(document.language).filter.Reason(document.text, survey);
  return verdict;
}

}  // namespace choir
