#include "data/clean/filters.h"

#include <gtest/gtest.h>
#include <unicode/uscript.h>

#include <map>
#include <string>

#include "base/hash.h"
#include "data/clean/language_codes.h"
#include "data/clean/reasons.h"
#include "data/clean/repetition.h"
#include "data/text/utf8.h"
#include "tests/data/test_corpus.h"

namespace choir {
namespace {

TextSurvey Surveyed(std::string_view text) {
  TextSurvey survey;
  SurveyText(text, survey);
  return survey;
}

std::string WordsOf(std::string_view text) {
  std::string words;
  for (const Word& word : Surveyed(text).words) {
    words += words.empty() ? "" : "|";
    words += text.substr(word.begin, word.end - word.begin);
  }
  return words;
}

TEST(TextSurveyTest, Words) {
  EXPECT_EQ(WordsOf("It's 3.5 Größe, naïve_x"), "It|s|3|5|Größe|naïve|x");
  EXPECT_EQ(WordsOf("日本語 のABC12です"), "日|本|語|の|ABC12|で|す");
  EXPECT_EQ(WordsOf("ที่นี่ ok"), "ที่|นี่|ok");             // a letter with its marks
  EXPECT_EQ(WordsOf("हिन्दी में"), "हिन्दी|में");          // marks inside words
  EXPECT_EQ(WordsOf("한국어 문장"), "한국어|문장");  // Hangul has spaces
  EXPECT_EQ(WordsOf("... \u0301 !"), "");            // a mark alone is no word
}

TEST(TextSurveyTest, Counts) {
  const TextSurvey survey = Surveyed("Ab1 日, +#…aaaa....");
  EXPECT_EQ(survey.characters, 18);
  EXPECT_EQ(survey.letters, 7);
  EXPECT_EQ(survey.digits, 1);
  EXPECT_EQ(survey.punctuation, 7);  // , # … . . . .
  EXPECT_EQ(survey.symbols, 1);
  EXPECT_EQ(survey.spaces, 2);
  EXPECT_EQ(survey.hash_signs, 1);
  EXPECT_EQ(survey.ellipses, 2);
  EXPECT_EQ(survey.longest_run, 4);
  EXPECT_EQ(survey.unspaced_letters, 1);
  EXPECT_EQ(survey.script_letters[USCRIPT_LATIN], 6u);
  EXPECT_EQ(survey.script_letters[USCRIPT_HAN], 1u);
  EXPECT_EQ(Surveyed("日本語です").pieces_per_word(), 2);
  EXPECT_EQ(Surveyed("English text, 日本").pieces_per_word(), 1);
}

// The shares again, straight from their definition.
struct NaiveShares {
  double top = 0, duplicate = 0;
};
NaiveShares Naive(std::string_view text, size_t n) {
  const TextSurvey survey = Surveyed(text);
  n *= static_cast<size_t>(survey.pieces_per_word());
  std::map<std::vector<std::string>, std::vector<size_t>> places;
  std::vector<std::string> words;
  for (const Word& word : survey.words) {
    words.emplace_back(text.substr(word.begin, word.end - word.begin));
  }
  for (size_t i = 0; i + n <= words.size(); ++i) {
    const auto begin = words.begin() + static_cast<ptrdiff_t>(i);
    places[{begin, begin + static_cast<ptrdiff_t>(n)}].push_back(i);
  }
  size_t total = 0, most = 1, top = 0, covered_bytes = 0;
  std::vector<bool> covered(words.size());
  for (const std::string& word : words) total += word.size();
  for (const auto& [ngram, where] : places) {
    if (where.size() < 2) continue;
    size_t bytes = 0;
    for (const std::string& word : ngram) bytes += word.size();
    if (where.size() > most) top = 0;
    most = std::max(most, where.size());
    if (where.size() == most) top = std::max(top, bytes * most);
    for (const size_t i : where) {
      for (size_t k = i; k < i + n; ++k) covered[k] = true;
    }
  }
  for (size_t i = 0; i < words.size(); ++i) covered_bytes += covered[i] ? words[i].size() : 0;
  if (total == 0) return {};
  const auto whole = static_cast<double>(total);
  return {static_cast<double>(top) / whole, static_cast<double>(covered_bytes) / whole};
}

TEST(RepetitionTest, NgramSharesEqualTheDefinition) {
  std::vector<std::string> texts = {"",
                                    "one",
                                    "a b a b a b",
                                    "ab ab ab ab c d e f ab ab",
                                    "x y z. x y z! p q r x y z",
                                    "日本日本日本語日本"};
  const auto records = testing_data::FixtureRecords("train");
  for (size_t i = 0; i < records.size(); i += 9) {
    const std::string text = records[i]["text"];
    texts.push_back(text);
    texts.push_back(text + "\n" + text.substr(0, text.find(' ') + 1) + text);
  }
  for (const std::string& text : texts) {
    if (!IsValidUtf8(text)) continue;
    const TextSurvey survey = Surveyed(text);
    const std::vector<double> top = TopNgramShares(survey, 2, 3);
    const std::vector<double> twice = DuplicateNgramShares(survey, 5, 6);
    for (size_t k = 0; k < 3; ++k) EXPECT_DOUBLE_EQ(top[k], Naive(text, 2 + k).top) << text;
    for (size_t k = 0; k < 6; ++k) EXPECT_DOUBLE_EQ(twice[k], Naive(text, 5 + k).duplicate) << text;
  }
}

TEST(RepetitionTest, Lines) {
  const LineStatistics lines = CountLines("- a\n- a\nbb...\n\n- a\n- a\nbb...\n\n\nend…");
  EXPECT_DOUBLE_EQ(lines.bullet_lines, 4.0 / 7);
  EXPECT_DOUBLE_EQ(lines.ellipsis_lines, 3.0 / 7);
  EXPECT_DOUBLE_EQ(lines.duplicate_lines, 4.0 / 7);
  EXPECT_DOUBLE_EQ(lines.duplicate_paragraphs, 1.0 / 3);
  EXPECT_DOUBLE_EQ(lines.duplicate_paragraph_bytes, 13.0 / 32);
  EXPECT_DOUBLE_EQ(CountLines("").duplicate_lines, 0);
  EXPECT_DOUBLE_EQ(CountLines("p\n\np\n").duplicate_paragraphs, 0.5);
}

const char* Reason(const FilterLimits& limits, std::string_view language, std::string_view text) {
  return DocumentFilter(limits, language).Reason(text, Surveyed(text));
}

// One limit at a time: a text that breaks it and one that does not.
TEST(FiltersTest, EachLimit) {
  const struct {
    void (*set)(FilterLimits&);
    const char* reason;
    std::string broken, kept;
  } cases[] = {
      {[](FilterLimits& l) { l.min_characters = 4; }, kTooShort, "äöü", "äöüß"},
      {[](FilterLimits& l) { l.max_characters = 4; }, kTooLong, "äöüßa", "äöüß"},
      {[](FilterLimits& l) { l.min_words = 3; }, kTooShort, "one two", "日本語"},
      {[](FilterLimits& l) { l.max_words = 3; }, kTooLong, "a b c d", "a b c"},
      {[](FilterLimits& l) { l.min_word_length = 3; }, kWordLength, "a bb cc", "дом кот"},
      {[](FilterLimits& l) { l.max_word_length = 5; }, kWordLength, "Wortungetüm", "日本語です"},
      {[](FilterLimits& l) { l.max_digits = 0.5; }, kDigits, "a 12 34", "a b 12"},
      {[](FilterLimits& l) { l.max_punctuation = 0.5; }, kPunctuation, "a ?!,", "a b ?!"},
      {[](FilterLimits& l) { l.max_symbols = 0.5; }, kSymbols, "a €+=", "ab €+"},
      {[](FilterLimits& l) { l.max_symbols_per_word = 0.5; }, kSymbols, "#a #b", "#a b ... c d"},
      {[](FilterLimits& l) { l.min_words_with_letter = 0.8; }, kFewLetters, "a 1 b", "a b c d 1"},
      {[](FilterLimits& l) { l.max_bullet_lines = 0.5; }, kBullets, "• a\n• b\nc", "• a\nb"},
      {[](FilterLimits& l) { l.max_ellipsis_lines = 0.5; }, kEllipses, "a...", "a…\nb"},
      {[](FilterLimits& l) { l.max_duplicate_lines = 0.3; }, kRepeatedLines, "a\na", "a\nb\nc\na"},
      {[](FilterLimits& l) { l.max_duplicate_line_bytes = 0.3; }, kRepeatedLines, "aa\naa\nb",
       "a\na\nbbbbb"},
      {[](FilterLimits& l) { l.max_duplicate_paragraphs = 0.3; }, kRepeatedParagraphs, "a\n\na",
       "a\na"},
      {[](FilterLimits& l) { l.max_duplicate_paragraph_bytes = 0.3; }, kRepeatedParagraphs,
       "aa\n\naa\n\nb", "a\n\na\n\nbbbbb"},
      {[](FilterLimits& l) { l.max_top_ngrams = {0.5}; }, kRepeatedNgrams, "a b a b a b",
       "a b c d e f a b"},
      {[](FilterLimits& l) { l.max_duplicate_ngrams = {0.5}; }, kRepeatedNgrams,
       "a b c d e a b c d e", "a b c d a b c d"},
      {[](FilterLimits& l) { l.max_character_run = 5; }, kRepeatedCharacters,
       "======", "=====     "},
      {[](FilterLimits& l) { l.min_script_letters = 0.6; }, kOtherScript, "привет ab мир",
       "hello мир"},
      {[](FilterLimits& l) {
         l.min_stop_words = 2;
         l.stop_words = {"the", "and"};
       },
       kStopWords, "the cat", "the cat and dog"},
  };
  for (const auto& c : cases) {
    FilterLimits limits;
    EXPECT_EQ(Reason(limits, "en", c.broken), nullptr);
    c.set(limits);
    EXPECT_STREQ(Reason(limits, "en", c.broken), c.reason) << c.broken;
    EXPECT_EQ(Reason(limits, "en", c.kept), nullptr) << c.reason << ": " << c.kept;
  }
}

TEST(FiltersTest, ScriptsOfTheLanguage) {
  FilterLimits limits;
  limits.min_script_letters = 0.9;
  const std::pair<const char*, const char*> kept[] = {
      {"ja", "漢字とカタカナ"}, {"zh", "中文"},   {"ko", "한국어"},       {"ru", "русский"},
      {"el", "ελληνικά"},       {"he", "עברית"},  {"ar", "العربية"},      {"fa", "فارسی"},
      {"hi", "हिन्दी"},          {"th", "ไทย"},    {"vi", "tiếng Việt"},   {"uk", "українська"},
      {"sr", "српски"},         {"sr", "srpski"}, {"pt_BR", "português"}, {"xx-unknown", "日a"},
  };
  for (const auto& [language, text] : kept)
    EXPECT_EQ(Reason(limits, language, text), nullptr) << text;
  EXPECT_STREQ(Reason(limits, "zh", "カタカナ"), kOtherScript);
  EXPECT_STREQ(Reason(limits, "ar", "English"), kOtherScript);
}

TEST(FiltersTest, FallbackFillsOnlyWhatIsUnset) {
  FilterLimits own;
  own.min_words = 7;
  own.max_top_ngrams = {0.5};
  const FilterLimits limits = WithFallback(own, PresetLimits(FilterPreset::kGopher));
  EXPECT_EQ(limits.min_words, 7);
  EXPECT_EQ(limits.max_words, 100'000);
  EXPECT_EQ(limits.max_top_ngrams, std::vector<double>{0.5});
  EXPECT_EQ(limits.max_duplicate_ngrams.size(), 6u);
  EXPECT_FALSE(limits.max_digits.has_value());
}

TEST(LanguageCodesTest, OneSpelling) {
  const std::pair<const char*, const char*> cases[] = {
      {"zh-Hans", "zh"}, {"zh-Hant", "zh"}, {"zh_TW", "zh"}, {"pt_BR", "pt"},    {"iw", "he"},
      {"nb", "no"},      {"in", "id"},      {"deu", "de"},   {"deu_Latn", "de"}, {"cmn_Hani", "zh"},
      {"EN", "en"},      {"ekk", "et"},     {"gsw", "gsw"},  {"", ""},           {"x", "x"},
      {"jpn", "ja"},     {"arb_Arab", "ar"}};
  for (const auto& [from, to] : cases) {
    EXPECT_EQ(NormalLanguage(from), to) << from;
    EXPECT_EQ(NormalLanguage(NormalLanguage(from)), to);
  }
  EXPECT_TRUE(ScriptsOf("qqq").empty());
}

}  // namespace
}  // namespace choir
