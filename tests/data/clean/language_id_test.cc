// fastText models against recorded answers of the fasttext program, and the two judges together.
#include "data/clean/language_id.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iostream>
#include <sstream>

#include "base/file.h"
#include "data/text/utf8.h"
#include "tests/data/test_corpus.h"

namespace choir {
namespace {

std::string Fixture(const std::string& name) {
  return std::string(CHOIR_SOURCE_DIR) + "/tests/fixtures/langid/" + name;
}

// tests/fixtures/langid/README.md says how the models and the answers were made.
class FastTextTest : public ::testing::TestWithParam<const char*> {};

TEST_P(FastTextTest, AnswersAsTheProgram) {
  const auto model = FastTextModel::Open(Fixture(GetParam()));
  ASSERT_TRUE(model.ok()) << model.status();
  std::ifstream texts(Fixture("lines.txt"));
  std::ifstream answers(Fixture(GetParam()) + ".answers");
  int64_t lines = 0, same = 0;
  // The program adds 1e-5 before it takes a logarithm, prints six digits, and sums floats in
  // another order; its sigmoid for one-vs-all is a table of steps of 1/32 whose slope is at most
  // 1/4.
  const bool one_vs_all = std::string(GetParam()) == "ova.bin";
  const double tolerance = one_vs_all ? 1.0 / 128 + 1e-4 : 1e-4;
  for (std::string text, answer; std::getline(texts, text); ++lines) {
    ASSERT_TRUE(std::getline(answers, answer));
    std::istringstream fields(answer);
    std::string label;
    double score = 0;
    fields >> label >> score;
    const FastTextPrediction prediction = (*model)->Predict(text);
    ASSERT_GE(prediction.label, 0);
    // Where its sigmoids fall on one step of the table, the program takes any of these labels.
    const std::string& own = (*model)->labels()[static_cast<size_t>(prediction.label)];
    same += "__label__" + own == label;
    EXPECT_TRUE(one_vs_all || "__label__" + own == label) << text;
    EXPECT_NEAR(prediction.score, score, tolerance) << text;
  }
  EXPECT_GT(lines, 140);
  EXPECT_GT(same, lines * 9 / 10);
}

INSTANTIATE_TEST_SUITE_P(Models, FastTextTest,
                         ::testing::Values("softmax.ftz", "hierarchical.bin", "ova.bin",
                                           "pruned.ftz"));

// Every cut and many flipped bytes: an error or an answer, never a crash.
TEST(FastTextFileTest, DamageIsAnError) {
  const std::string folder = testing_data::TempFolder("fasttext");
  for (const char* name : {"softmax.ftz", "hierarchical.bin"}) {
    const std::string bytes = *ReadFile(Fixture(name));
    const std::string path = folder + "/" + name;
    for (size_t i = 0; i < 40; ++i) {
      const size_t cut = i < 20 ? i * 6 : bytes.size() * (i - 19) / 21;
      testing_data::WriteText(path, bytes.substr(0, cut));
      EXPECT_EQ(FastTextModel::Open(path).status().code(), absl::StatusCode::kInvalidArgument);
    }
    for (size_t i = 0; i < 160; ++i) {
      std::string damaged = bytes;
      damaged[i < 100 ? i : bytes.size() * (i - 99) / 61] ^= static_cast<char>(1 << i % 8);
      testing_data::WriteText(path, damaged);
      const auto model = FastTextModel::Open(path);
      if (model.ok()) (*model)->Predict("ein kleiner Text");
    }
    testing_data::WriteText(path, bytes + "x");
    EXPECT_FALSE(FastTextModel::Open(path).ok());
  }
  EXPECT_EQ(FastTextModel::Open(folder + "/none").status().code(), absl::StatusCode::kNotFound);
}

LanguageIdConfig Config() {
  LanguageIdConfig config;
  config.action = LanguageAction::kCheck;
  return config;
}

TEST(LanguageIdTest, Cld2Alone) {
  const auto identifier = LanguageIdentifier::Make(Config());
  ASSERT_TRUE(identifier.ok());
  const std::pair<const char*, const char*> cases[] = {
      {"de", "Dies ist ein ganz gewöhnlicher deutscher Satz, der lang genug sein sollte."},
      {"ja", "これは日本語で書かれた普通の文章です。十分に長いはずです。"},
      {"zh", "这是一个用中文写的普通句子，应该足够长了。我们来看看结果。"},
      {"he", "זהו משפט רגיל בעברית שאמור להיות ארוך מספיק כדי לזהות את השפה."},
      {"el", "Αυτή είναι μια συνηθισμένη πρόταση στα ελληνικά που είναι αρκετά μεγάλη."},
      {"hi", "यह हिन्दी में लिखा गया एक साधारण वाक्य है जो काफी लंबा होना चाहिए।"}};
  for (const auto& [language, text] : cases) {
    const LanguageGuess guess = (*identifier)->Identify(text);
    EXPECT_EQ(guess.language, language);
    EXPECT_GT(guess.score, 0.5);
  }
  EXPECT_EQ((*identifier)->Identify("12345 +++ ...").language, "");
  EXPECT_EQ((*identifier)->Identify("").language, "");
}

// Each rule of the policy on some document of the fixture, against the judges asked alone.
TEST(LanguageIdTest, PolicyOfTwoJudges) {
  LanguageIdConfig config = Config();
  config.model = Fixture("softmax.ftz");
  config.sample_bytes = 0;
  const auto both = LanguageIdentifier::Make(config);
  ASSERT_TRUE(both.ok()) << both.status();
  config.cld2 = false;
  const auto model = LanguageIdentifier::Make(config);
  config.model = "";
  EXPECT_FALSE(LanguageIdentifier::Make(config).ok());
  config.cld2 = true;
  const auto cld2 = LanguageIdentifier::Make(config);
  int sure = 0, same = 0, stays = 0, changed = 0;
  for (const auto& record : testing_data::FixtureRecords("heldout")) {
    // Short, so that the judges are unsure and differ now and then.
    const std::string text = LanguageSample(std::string(record["text"]).substr(0, 300), 64);
    const LanguageGuess m = (*model)->Identify(text), c = (*cld2)->Identify(text);
    const LanguageGuess guess = (*both)->Identify(text);
    if (m.score >= config.sure_score) {
      ++sure;
      EXPECT_EQ(guess.language, m.language);
      EXPECT_EQ(guess.score, m.score);
    } else if (m.language == c.language) {
      ++same;
      EXPECT_EQ(guess.language, m.language);
      EXPECT_EQ(guess.score, std::max(m.score, c.score));
    } else if (guess.language == m.language) {
      ++stays;
      EXPECT_EQ(guess.score, m.score);
    } else {
      ++changed;
      EXPECT_EQ(guess.language, c.language);
      EXPECT_LT(m.score, config.min_score);
    }
  }
  std::cout << sure << " sure, " << same << " agree, " << stays << " the model's, " << changed
            << " CLD2's\n";
  EXPECT_GT(sure, 20);
  EXPECT_GT(same, 10);
  EXPECT_GT(stays, 0);
  EXPECT_GT(changed, 0);
}

TEST(LanguageSampleTest, ThirdsOnOneLine) {
  EXPECT_EQ(LanguageSample("a\nb\tc", 100), "a b c");
  EXPECT_EQ(LanguageSample("a\nb", 0), "a b");
  std::string text(1000, 'a');
  for (size_t i = 400; i < 600; ++i) text[i] = 'b';
  for (size_t i = 900; i < 1000; ++i) text[i] = 'c';
  EXPECT_EQ(LanguageSample(text, 90),
            std::string(30, 'a') + " " + std::string(30, 'b') + " " + std::string(30, 'c'));
  std::string thai;
  while (thai.size() < 2000) thai += "ภาษาไทย";
  for (int64_t bytes = 64; bytes < 80; ++bytes) {
    const std::string sample = LanguageSample(thai, bytes);
    EXPECT_TRUE(IsValidUtf8(sample));
    EXPECT_LE(static_cast<int64_t>(sample.size()), bytes + 2);
    EXPECT_GE(static_cast<int64_t>(sample.size()), bytes - 12);
  }
}

}  // namespace
}  // namespace choir
