// Section `clean` of a data config: what is done to the text of a document, and which documents are
// dropped. What is not written here is off, except the repairs that lose nothing but noise.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/config_load.h"

namespace choir {

enum class InvalidUtf8 { kRepair, kReject };
template <>
struct EnumNames<InvalidUtf8> {
  static constexpr EnumName<InvalidUtf8> kAll[] = {{InvalidUtf8::kRepair, "repair"},
                                                   {InvalidUtf8::kReject, "reject"}};
};

enum class SpaceMode { kKeep, kTrim, kFold };
template <>
struct EnumNames<SpaceMode> {
  static constexpr EnumName<SpaceMode> kAll[] = {
      {SpaceMode::kKeep, "keep"}, {SpaceMode::kTrim, "trim"}, {SpaceMode::kFold, "fold"}};
};

enum class LanguageAction { kOff, kCheck, kAssign };
template <>
struct EnumNames<LanguageAction> {
  static constexpr EnumName<LanguageAction> kAll[] = {{LanguageAction::kOff, "off"},
                                                      {LanguageAction::kCheck, "check"},
                                                      {LanguageAction::kAssign, "assign"}};
};

enum class FilterPreset { kNone, kGopher };
template <>
struct EnumNames<FilterPreset> {
  static constexpr EnumName<FilterPreset> kAll[] = {{FilterPreset::kNone, "none"},
                                                    {FilterPreset::kGopher, "gopher"}};
};

enum class DedupMode { kOff, kExact, kNear };
template <>
struct EnumNames<DedupMode> {
  static constexpr EnumName<DedupMode> kAll[] = {
      {DedupMode::kOff, "off"}, {DedupMode::kExact, "exact"}, {DedupMode::kNear, "near"}};
};

struct PiiConfig {
  bool email = false;
  bool ip = false;
  bool phone = false;
  std::string email_text = "<EMAIL>";
  std::string ip_text = "<IP>";
  std::string phone_text = "<PHONE>";

  void Visit(auto&& v) {
    v("email", email, "mask e-mail addresses");
    v("ip", ip, "mask public IPv4 and IPv6 addresses");
    v("phone", phone, "mask international and North American phone numbers");
    v("email_text", email_text, "what stands for an e-mail address", NonEmpty());
    v("ip_text", ip_text, "what stands for an IP address", NonEmpty());
    v("phone_text", phone_text, "what stands for a phone number", NonEmpty());
  }
  void Check(ConfigErrors& errors) const;
};

struct LanguageIdConfig {
  LanguageAction action = LanguageAction::kOff;
  std::string model;
  bool cld2 = true;
  double min_score = 0.5;
  double sure_score = 0.9;
  int64_t sample_bytes = 384;
  std::vector<std::string> only;

  void Visit(auto&& v) {
    v("action", action,
      "check: drop a document whose text is in another language than it says; assign: the text "
      "says "
      "which language it is in");
    v("model", model, "fastText model, .bin or .ftz, of labels like __label__de; none: CLD2 alone",
      MustExist());
    v("cld2", cld2, "ask CLD2: alone without a model, else where the model's score is low");
    v("min_score", min_score, "a document whose language is less sure is dropped", InRange(0, 1));
    v("sure_score", sure_score, "below this score of the model, CLD2 is asked too", InRange(0, 1));
    v("sample_bytes", sample_bytes,
      "text looked at, from the beginning, middle and end of a document; 0: all of it",
      InRange(0, 1 << 30));
    v("only", only, "languages kept; none listed: all");
  }
  void Check(ConfigErrors& errors) const;
};

// Limits of one kind of document. What is unset does not filter.
struct FilterLimits {
  std::optional<int64_t> min_characters, max_characters;
  std::optional<int64_t> min_words, max_words;
  std::optional<double> min_word_length, max_word_length;
  std::optional<double> max_digits, max_punctuation, max_symbols;
  std::optional<double> max_symbols_per_word, min_words_with_letter;
  std::optional<double> max_bullet_lines, max_ellipsis_lines;
  std::optional<double> max_duplicate_lines, max_duplicate_line_bytes;
  std::optional<double> max_duplicate_paragraphs, max_duplicate_paragraph_bytes;
  std::vector<double> max_top_ngrams, max_duplicate_ngrams;
  std::optional<int64_t> max_character_run;
  std::optional<double> min_script_letters;
  std::optional<int64_t> min_stop_words;
  std::vector<std::string> stop_words;

  void Visit(auto&& v) {
    v("min_characters", min_characters, "of the whole text", AtLeast(0));
    v("max_characters", max_characters, "of the whole text", AtLeast(1));
    v("min_words", min_words, "a character is a word where the script has no spaces", AtLeast(0));
    v("max_words", max_words, "a character is a word where the script has no spaces", AtLeast(1));
    v("min_word_length", min_word_length, "characters of a word, on average", AtLeast(0));
    v("max_word_length", max_word_length, "characters of a word, on average", AtLeast(1));
    v("max_digits", max_digits, "share of the characters that are not space", InRange(0, 1));
    v("max_punctuation", max_punctuation, "share of the characters that are not space",
      InRange(0, 1));
    v("max_symbols", max_symbols, "share of the characters that are not space", InRange(0, 1));
    v("max_symbols_per_word", max_symbols_per_word, "hash signs and ellipses by word", AtLeast(0));
    v("min_words_with_letter", min_words_with_letter, "share of the words", InRange(0, 1));
    v("max_bullet_lines", max_bullet_lines, "share of the lines that begin with a bullet",
      InRange(0, 1));
    v("max_ellipsis_lines", max_ellipsis_lines, "share of the lines that end with an ellipsis",
      InRange(0, 1));
    v("max_duplicate_lines", max_duplicate_lines, "share of the lines", InRange(0, 1));
    v("max_duplicate_line_bytes", max_duplicate_line_bytes, "share of the text", InRange(0, 1));
    v("max_duplicate_paragraphs", max_duplicate_paragraphs, "share of the paragraphs",
      InRange(0, 1));
    v("max_duplicate_paragraph_bytes", max_duplicate_paragraph_bytes, "share of the text",
      InRange(0, 1));
    v("max_top_ngrams", max_top_ngrams,
      "share of the text that the most frequent n-gram makes up, for n = 2, 3, 4 ...",
      InRange(0, 1));
    v("max_duplicate_ngrams", max_duplicate_ngrams,
      "share of the text inside n-grams that come twice or more, for n = 5, 6, 7 ...",
      InRange(0, 1));
    v("max_character_run", max_character_run, "one character, other than space, so often in a row",
      AtLeast(1));
    v("min_script_letters", min_script_letters,
      "share of the letters that are in a script of the document's language", InRange(0, 1));
    v("min_stop_words", min_stop_words, "times that a stop word comes", AtLeast(0));
    v("stop_words", stop_words, "frequent words of the language");
  }
  void Check(ConfigErrors& errors) const;
};

struct LanguageFilters {
  std::string language;
  std::optional<double> min_score;
  FilterLimits limits;

  void Visit(auto&& v) {
    v("language", language, "code as in the documents", Required(), NonEmpty());
    v("min_score", min_score, "instead of language_id.min_score", InRange(0, 1));
    v("limits", limits, "instead of those of `filters`; what is unset stays as there");
  }
};

struct DedupConfig {
  DedupMode mode = DedupMode::kOff;
  int64_t bands = 14;
  int64_t rows = 8;
  double threshold = 0.8;
  int64_t shingle_words = 5;
  int64_t sketch = 512;
  int64_t memory = 256 << 20;
  int64_t seed = 1;

  void Visit(auto&& v) {
    v("mode", mode, "drop equal texts; near: and texts that share most of their shingles");
    v("bands", bands, "groups of minimum hashes; two documents that agree in one are compared",
      InRange(1, 256));
    v("rows", rows, "minimum hashes by band", InRange(1, 64));
    v("threshold", threshold, "Jaccard similarity of shingles from which two documents are one",
      InRange(0.1, 1));
    v("shingle_words", shingle_words,
      "words in a row; twice as many characters where the script has no spaces", InRange(1, 64));
    v("sketch", sketch,
      "smallest shingle hashes kept to compare two documents; exact up to so many shingles",
      InRange(16, 1 << 16));
    v("memory", memory, "bytes held before band entries are sorted and written to disk",
      AtLeast(1 << 20));
    v("seed", seed, "of the hash functions", AtLeast(0));
  }
};

struct CleanConfig {
  InvalidUtf8 utf8 = InvalidUtf8::kRepair;
  double max_repaired = 0.01;
  bool controls = true;
  bool nfc = true;
  SpaceMode spaces = SpaceMode::kTrim;
  PiiConfig pii;
  LanguageIdConfig language_id;
  FilterPreset preset = FilterPreset::kNone;
  FilterLimits filters;
  std::vector<LanguageFilters> languages;
  DedupConfig dedup;

  void Visit(auto&& v) {
    v("utf8", utf8, "bytes that are not UTF-8: replaced by U+FFFD, or the document is dropped");
    v("max_repaired", max_repaired, "share of the characters that may be replaced", InRange(0, 1));
    v("controls", controls,
      "remove control, invisible and bidirectional-override characters; line ends become LF");
    v("nfc", nfc, "Unicode normalisation form C");
    v("spaces", spaces,
      "trim: no space at line ends, at most one empty line in a row; fold: and single spaces");
    v("pii", pii, "personal data that is masked");
    v("language_id", language_id, "which language a text is in");
    v("preset", preset, "limits for what `filters` and `languages` leave unset");
    v("filters", filters, "documents outside these limits are dropped");
    v("languages", languages, "other limits by language");
    v("dedup", dedup, "equal and nearly equal documents");
  }
  void Check(ConfigErrors& errors) const;
};

}  // namespace choir
