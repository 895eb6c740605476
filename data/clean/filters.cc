#include "data/clean/filters.h"

#include "base/hash.h"
#include "data/clean/language_codes.h"
#include "data/clean/reasons.h"
#include "data/clean/repetition.h"

namespace choir {
namespace {

constexpr int kFirstTopNgram = 2, kFirstDuplicateNgram = 5;  // as FilterLimits says

double Share(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

template <class T, class V>
bool IsBelow(const std::optional<T>& limit, V value) {
  return limit.has_value() && value < static_cast<V>(*limit);
}
template <class T, class V>
bool IsAbove(const std::optional<T>& limit, V value) {
  return limit.has_value() && value > static_cast<V>(*limit);
}

bool AnyAbove(const std::vector<double>& limits, const std::vector<double>& values) {
  for (size_t i = 0; i < limits.size(); ++i) {
    if (values[i] > limits[i]) return true;
  }
  return false;
}

}  // namespace

FilterLimits PresetLimits(FilterPreset preset) {
  FilterLimits limits;
  if (preset == FilterPreset::kNone) return limits;
  limits.min_words = 50;
  limits.max_words = 100'000;
  limits.min_word_length = 3;
  limits.max_word_length = 10;
  limits.max_symbols_per_word = 0.1;
  limits.max_bullet_lines = 0.9;
  limits.max_ellipsis_lines = 0.3;
  limits.min_words_with_letter = 0.8;
  limits.max_duplicate_lines = 0.3;
  limits.max_duplicate_paragraphs = 0.3;
  limits.max_duplicate_line_bytes = 0.2;
  limits.max_duplicate_paragraph_bytes = 0.2;
  limits.max_top_ngrams = {0.2, 0.18, 0.16};
  limits.max_duplicate_ngrams = {0.15, 0.14, 0.13, 0.12, 0.11, 0.10};
  return limits;
}

FilterLimits WithFallback(FilterLimits limits, const FilterLimits& fallback) {
  FilterLimits other = fallback;
  std::vector<const void*> fields;
  other.Visit([&](const char*, auto& field, auto&&...) { fields.push_back(&field); });
  size_t i = 0;
  limits.Visit([&](const char*, auto& field, auto&&...) {
    using Field = std::decay_t<decltype(field)>;
    const auto& from = *static_cast<const Field*>(fields[i++]);
    if constexpr (ConfigOptional<Field>) {
      if (!field.has_value()) field = from;
    } else {
      if (field.empty()) field = from;
    }
  });
  return limits;
}

DocumentFilter::DocumentFilter(const FilterLimits& limits, std::string_view language)
    : limits_(limits), scripts_(ScriptsOf(NormalLanguage(language))) {
  for (const std::string& word : limits.stop_words) stop_words_.insert(HashOf64(word));
}

const char* DocumentFilter::Reason(std::string_view text, const TextSurvey& survey) const {
  if (const char* reason = SizeReason(survey)) return reason;
  if (const char* reason = CharacterReason(survey)) return reason;
  if (LacksStopWords(survey)) return kStopWords;
  if (const char* reason = LineReason(text)) return reason;
  return NgramReason(survey);
}

const char* DocumentFilter::SizeReason(const TextSurvey& survey) const {
  const auto words = static_cast<int64_t>(survey.words.size());
  if (IsBelow(limits_.min_characters, survey.characters)) return kTooShort;
  if (IsBelow(limits_.min_words, words)) return kTooShort;
  if (IsAbove(limits_.max_characters, survey.characters)) return kTooLong;
  if (IsAbove(limits_.max_words, words)) return kTooLong;
  // Where the script has no spaces, words have no length.
  if (words == 0 || survey.pieces_per_word() > 1) return nullptr;
  const double length = Share(survey.word_characters, words);
  const bool odd =
      IsBelow(limits_.min_word_length, length) || IsAbove(limits_.max_word_length, length);
  return odd ? kWordLength : nullptr;
}

const char* DocumentFilter::CharacterReason(const TextSurvey& survey) const {
  const int64_t visible = survey.characters - survey.spaces;
  const auto words = static_cast<int64_t>(survey.words.size());
  if (IsAbove(limits_.max_digits, Share(survey.digits, visible))) return kDigits;
  if (IsAbove(limits_.max_punctuation, Share(survey.punctuation, visible))) return kPunctuation;
  if (IsAbove(limits_.max_symbols, Share(survey.symbols, visible))) return kSymbols;
  if (IsAbove(limits_.max_symbols_per_word, Share(survey.hash_signs + survey.ellipses, words))) {
    return kSymbols;
  }
  if (words > 0 && IsBelow(limits_.min_words_with_letter, Share(survey.words_with_letter, words))) {
    return kFewLetters;
  }
  if (IsAbove(limits_.max_character_run, survey.longest_run)) return kRepeatedCharacters;
  if (!limits_.min_script_letters.has_value() || scripts_.empty() || survey.letters == 0) {
    return nullptr;
  }
  int64_t own = 0;
  for (const uint8_t script : scripts_) own += survey.script_letters[script];
  return IsBelow(limits_.min_script_letters, Share(own, survey.letters)) ? kOtherScript : nullptr;
}

bool DocumentFilter::LacksStopWords(const TextSurvey& survey) const {
  if (stop_words_.empty() || !limits_.min_stop_words.has_value()) return false;
  int64_t left = *limits_.min_stop_words;
  for (size_t i = 0; left > 0 && i < survey.words.size(); ++i) {
    left -= stop_words_.contains(survey.words[i].hash);
  }
  return left > 0;
}

const char* DocumentFilter::LineReason(std::string_view text) const {
  const bool wanted = limits_.max_bullet_lines || limits_.max_ellipsis_lines ||
                      limits_.max_duplicate_lines || limits_.max_duplicate_line_bytes ||
                      limits_.max_duplicate_paragraphs || limits_.max_duplicate_paragraph_bytes;
  if (!wanted) return nullptr;
  const LineStatistics lines = CountLines(text);
  if (IsAbove(limits_.max_bullet_lines, lines.bullet_lines)) return kBullets;
  if (IsAbove(limits_.max_ellipsis_lines, lines.ellipsis_lines)) return kEllipses;
  if (IsAbove(limits_.max_duplicate_lines, lines.duplicate_lines) ||
      IsAbove(limits_.max_duplicate_line_bytes, lines.duplicate_line_bytes)) {
    return kRepeatedLines;
  }
  if (IsAbove(limits_.max_duplicate_paragraphs, lines.duplicate_paragraphs) ||
      IsAbove(limits_.max_duplicate_paragraph_bytes, lines.duplicate_paragraph_bytes)) {
    return kRepeatedParagraphs;
  }
  return nullptr;
}

const char* DocumentFilter::NgramReason(const TextSurvey& survey) const {
  const auto counts = [](const std::vector<double>& limits) {
    return static_cast<int>(limits.size());
  };
  const std::vector<double>& top = limits_.max_top_ngrams;
  if (AnyAbove(top, TopNgramShares(survey, kFirstTopNgram, counts(top)))) return kRepeatedNgrams;
  const std::vector<double>& twice = limits_.max_duplicate_ngrams;
  return AnyAbove(twice, DuplicateNgramShares(survey, kFirstDuplicateNgram, counts(twice)))
             ? kRepeatedNgrams
             : nullptr;
}

}  // namespace choir
