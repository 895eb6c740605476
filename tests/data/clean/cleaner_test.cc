// All stages together: order, verdicts, and properties that hold for any text.
#include "data/clean/cleaner.h"

#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "base/config_fields.h"
#include "base/config_load.h"
#include "base/random.h"
#include "data/clean/reasons.h"
#include "data/text/utf8.h"
#include "tests/data/test_corpus.h"

namespace choir {
namespace {

CleanConfig Everything() {
  CleanConfig config;
  config.spaces = SpaceMode::kFold;
  config.pii.email = config.pii.ip = config.pii.phone = true;
  config.language_id.action = LanguageAction::kAssign;
  config.preset = FilterPreset::kGopher;
  config.filters.min_script_letters = 0.5;
  config.max_repaired = 1;
  return config;
}

std::unique_ptr<Cleaner> MakeCleaner(const CleanConfig& config) {
  auto cleaner = Cleaner::Make(config);
  EXPECT_TRUE(cleaner.ok()) << cleaner.status();
  return *std::move(cleaner);
}

TextDocument Document(std::string text, std::string language = "en") {
  return {std::move(text), std::move(language), "source", "group", "id"};
}

TEST(CleanerTest, DefaultRepairsAndKeeps) {
  const auto cleaner = MakeCleaner({});
  TextDocument document = Document("\uFEFFGro\u0308\u00DFe \r\n\r\n\r\n\r\nsoft\u00ADware \n");
  const CleanVerdict verdict = cleaner->Clean(document);
  EXPECT_EQ(verdict.reason, nullptr);
  EXPECT_EQ(document.text, "Gr\u00F6\u00DFe\n\nsoftware");
  EXPECT_EQ(verdict.language, "");
  EXPECT_EQ(document.language, "en");
}

TEST(CleanerTest, NotUtf8) {
  CleanConfig config;
  TextDocument document = Document(
      "ab\xFF"
      "cd");
  EXPECT_EQ(MakeCleaner(config)->Clean(document).reason, kNotUtf8);  // 1 of 5 characters
  config.max_repaired = 0.2;
  document = Document(
      "ab\xFF"
      "cd");
  const CleanVerdict verdict = MakeCleaner(config)->Clean(document);
  EXPECT_EQ(verdict.reason, nullptr);
  EXPECT_EQ(verdict.repaired, 1);
  EXPECT_EQ(document.text, "ab\uFFFDcd");
  config.utf8 = InvalidUtf8::kReject;
  document = Document(
      "ab\xFF"
      "cd");
  EXPECT_EQ(MakeCleaner(config)->Clean(document).reason, kNotUtf8);
  document = Document(" \u200B\n");
  EXPECT_EQ(MakeCleaner(config)->Clean(document).reason, kNoText);
}

constexpr char kGerman[] =
    "Dies ist ein ganz gewöhnlicher deutscher Satz, der lang genug sein sollte, um erkannt zu "
    "werden, und noch einer dazu.";

TEST(CleanerTest, LanguageIsChecked) {
  CleanConfig config;
  config.language_id.action = LanguageAction::kCheck;
  TextDocument document = Document(kGerman, "de_AT");
  EXPECT_EQ(MakeCleaner(config)->Clean(document).reason, nullptr);
  EXPECT_EQ(document.language, "de_AT");
  document = Document(kGerman, "fr");
  const CleanVerdict verdict = MakeCleaner(config)->Clean(document);
  EXPECT_EQ(verdict.reason, kOtherLanguage);
  EXPECT_EQ(verdict.language, "de");
  document = Document("1 2 3", "de");
  EXPECT_EQ(MakeCleaner(config)->Clean(document).reason, kUnsureLanguage);
  config.language_id.only = {"fr", "it"};
  document = Document(kGerman, "de");
  EXPECT_EQ(MakeCleaner(config)->Clean(document).reason, kUnwantedLanguage);
}

TEST(CleanerTest, LanguageIsAssigned) {
  CleanConfig config;
  config.language_id.action = LanguageAction::kAssign;
  config.filters.max_characters = 10'000;
  config.languages = {{"de", std::nullopt, {}}};
  config.languages[0].limits.max_characters = 20;
  TextDocument document = Document(kGerman, "");
  EXPECT_EQ(MakeCleaner(config)->Clean(document).reason, kTooLong);  // German's own limit
  EXPECT_EQ(document.language, "de");
  config.languages[0].limits.max_characters.reset();
  config.languages[0].min_score = 1;
  document = Document(std::string(kGerman) + " This is a sentence in English, long enough.", "");
  EXPECT_EQ(MakeCleaner(config)->Clean(document).reason, kUnsureLanguage);
}

// Random text from pieces that the stages care about, well-formed and not.
std::string RandomText(uint64_t seed) {
  static const std::vector<std::string> pieces = {"a",
                                                  "B",
                                                  " ",
                                                  "\n",
                                                  "\t",
                                                  "\r",
                                                  "\r\n",
                                                  "\xFF",
                                                  "\xC3",
                                                  "\xE2\x80",
                                                  "\u00AD",
                                                  "\u200B",
                                                  "\u200C",
                                                  "\u200D",
                                                  "\u202E",
                                                  "\uFEFF",
                                                  "e\u0301",
                                                  "\u0301",
                                                  "\u0338",
                                                  "\u2194",
                                                  "=",
                                                  ">",
                                                  "\u00A0",
                                                  "\u3000",
                                                  "\u2028",
                                                  "日本",
                                                  "ไทย",
                                                  "ខ្មែរ",
                                                  "किताब",
                                                  "می",
                                                  "👩",
                                                  "\u1112\u1161\u11AB",
                                                  "\u212B",
                                                  "\uFE0F",
                                                  "\u093C",
                                                  "\u0915",
                                                  "@",
                                                  "a@b.com",
                                                  ".",
                                                  "8.8.8.8",
                                                  "2600::1",
                                                  ":",
                                                  "::",
                                                  "+49 30 1234567",
                                                  "(212) 555-0123",
                                                  "+",
                                                  "-",
                                                  "1",
                                                  "23",
                                                  "(",
                                                  ")",
                                                  "word",
                                                  "Größe ",
                                                  "x_y",
                                                  "\U000E0041",
                                                  "\uFDD0",
                                                  "\u0340",
                                                  "\u037E",
                                                  "\u2126",
                                                  "\u05D0\u05BC",
                                                  "\u0F71\u0F72"};
  const CounterRandom random(seed, "text");
  std::string text;
  const uint64_t n = random.Below(0, 60);
  for (uint64_t i = 1; i <= n; ++i) text += pieces[random.Below(i, pieces.size())];
  return text;
}

TEST(CleanerTest, CleaningAgainChangesNothing) {
  CleanConfig trim = Everything();
  trim.spaces = SpaceMode::kTrim;
  trim.filters = {};
  trim.preset = FilterPreset::kNone;
  trim.language_id.action = LanguageAction::kOff;
  std::vector<std::string> texts;
  for (const auto& record : testing_data::FixtureRecords("heldout"))
    texts.push_back(record["text"]);
  for (uint64_t i = 0; i < 30'000; ++i) texts.push_back(RandomText(i));
  for (const CleanConfig& config : {Everything(), trim}) {
    const auto cleaner = MakeCleaner(config);
    for (const std::string& text : texts) {
      TextDocument document = Document(text);
      const CleanVerdict first = cleaner->Clean(document);
      ASSERT_TRUE(IsValidUtf8(document.text)) << text;
      TextDocument again = document;
      const CleanVerdict second = cleaner->Clean(again);
      ASSERT_EQ(again.text, document.text) << text;
      ASSERT_EQ(again.language, document.language);
      ASSERT_EQ(second.reason, first.reason) << text;
      ASSERT_EQ(second.language, first.language);
      ASSERT_EQ(second.language_score, first.language_score);
      ASSERT_EQ(second.repaired + second.masked.emails + second.masked.ips + second.masked.phones,
                0);
    }
  }
}

TEST(CleanerTest, CountsAddUpInAnyThread) {
  const auto cleaner = MakeCleaner(Everything());
  const auto records = testing_data::FixtureRecords("train");
  const auto count = [&] {
    std::map<std::string, int64_t> counts;
    for (const auto& record : records) {
      TextDocument document = Document(record["text"], record["language"]);
      const char* const reason = cleaner->Clean(document).reason;
      bool known = reason == nullptr;
      for (const char* name : kCleanReasons) known = known || reason == name;
      EXPECT_TRUE(known) << reason;
      ++counts[reason == nullptr ? "kept" : reason];
    }
    return counts;
  };
  const auto expected = count();
  int64_t total = 0;
  for (const auto& [reason, documents] : expected) total += documents;
  EXPECT_EQ(total, static_cast<int64_t>(records.size()));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) threads.emplace_back([&] { EXPECT_EQ(count(), expected); });
  for (std::thread& thread : threads) thread.join();
}

TEST(CleanConfigTest, EveryFieldIsVisited) {
  EXPECT_EQ(ForgottenFields<CleanConfig>(), "");
  EXPECT_EQ(CountFields<FilterLimits>(), CountVisited<FilterLimits>());
  EXPECT_EQ(CountFields<LanguageFilters>(), CountVisited<LanguageFilters>());
}

absl::StatusOr<CleanConfig> Loaded(const std::string& yaml) {
  const auto tree = ConfigTree::ParseString(yaml, "clean.yaml");
  if (!tree.ok()) return tree.status();
  return LoadConfig<CleanConfig>(*tree);
}

TEST(CleanConfigTest, Loads) {
  const auto config = Loaded(
      "preset: gopher\nspaces: fold\nfilters: {min_words: 5, max_top_ngrams: [0.3]}\n"
      "languages:\n- language: zh\n  min_score: 0.7\n  limits: {min_words: 30}\n"
      "dedup: {mode: near, threshold: 0.7}\n");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->filters.min_words, 5);
  EXPECT_EQ(config->languages.at(0).limits.min_words, 30);
  EXPECT_EQ(config->languages[0].min_score, 0.7);
  EXPECT_EQ(config->dedup.threshold, 0.7);
}

TEST(CleanConfigTest, RefusesWhatCannotBeMeant) {
  const std::pair<const char*, const char*> cases[] = {
      {"filters: {min_words: 5, max_words: 4}", "filters.min_words must be at most max_words"},
      {"languages:\n- language: zh-Hans\n- language: zh\n", "languages[1].language 'zh' is listed"},
      {"pii: {email_text: 'x@y'}", "pii.email_text must be printable ASCII"},
      {"pii: {phone_text: '555'}", "pii.phone_text must be printable ASCII"},
      {"language_id: {action: check, cld2: false}", "language_id.cld2 must be true, or model"},
      {"language_id: {sample_bytes: 10}", "language_id.sample_bytes must be 0 or at least 64"},
      {"filters: {min_stop_words: 2}", "filters.min_stop_words needs stop_words"},
      {"dedup: {mode: fuzzy}", "dedup.mode must be off, exact or near"},
  };
  for (const auto& [yaml, message] : cases) {
    const auto config = Loaded(yaml);
    ASSERT_FALSE(config.ok()) << yaml;
    EXPECT_NE(config.status().message().find(message), absl::string_view::npos) << config.status();
  }
}

}  // namespace
}  // namespace choir
