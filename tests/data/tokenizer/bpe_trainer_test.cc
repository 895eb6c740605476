#include "data/tokenizer/bpe_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "base/file.h"
#include "base/strings.h"
#include "data/tokenizer/fertility.h"
#include "tests/data/test_corpus.h"

namespace choir {
namespace {

using ::testing::HasSubstr;

std::vector<std::string> TrainTexts() {
  std::vector<std::string> texts;
  for (const nlohmann::json& record : testing_data::FixtureRecords("train")) {
    texts.push_back(record.at("text"));
  }
  return texts;
}

// Hugging Face's trainer, with the same settings on the same texts, made these files.
TEST(BpeTrainer, MakesTheMergesOfTheReference) {
  const std::string folder = std::string(CHOIR_SOURCE_DIR) + "/tests/fixtures/tokenizers/";
  for (const auto& [pattern, name] : std::map<std::string, std::string>{{"gpt2", "gpt2"},
                                                                        {"llama3", "llama3"},
                                                                        {"o200k", "o200k"},
                                                                        {"tekken", "tekken"},
                                                                        {"deepseek", "deepseek"}}) {
    TokenizerConfig config;
    config.pattern = pattern;
    config.vocab_size = 900;
    const auto ours = nlohmann::json::parse(TrainBpe(TrainTexts(), config, 2).value());
    const auto theirs =
        nlohmann::json::parse(ReadFile(StrCat(folder, name, "/tokenizer.json")).value());
    ASSERT_EQ(ours["model"]["vocab"], theirs["model"]["vocab"]) << name;
    ASSERT_EQ(ours["model"]["merges"].size(), theirs["model"]["merges"].size());
    for (size_t i = 0; i < ours["model"]["merges"].size(); ++i) {
      const auto& pair = theirs["model"]["merges"][i];
      ASSERT_EQ(ours["model"]["merges"][i],
                StrCat(pair[0].get<std::string>(), " ", pair[1].get<std::string>()));
    }
  }
}

TEST(BpeTrainer, ThreadsAndOrderOfTextsChangeNothing) {
  TokenizerConfig config;
  config.vocab_size = 700;
  std::vector<std::string> texts = TrainTexts();
  const std::string one = TrainBpe(texts, config, 1).value();
  std::reverse(texts.begin(), texts.end());
  EXPECT_EQ(TrainBpe(texts, config, 5).value(), one);
}

TEST(BpeTrainer, TooFewPairsIsAnError) {
  TokenizerConfig config;
  config.vocab_size = 5000;
  EXPECT_THAT(std::string(TrainBpe({"a few words", "a few"}, config, 1).status().message()),
              HasSubstr("tokens of tokenizer.vocab_size 5000"));
}

TEST(BpeTrainer, ATrainedTokenizerOpensAndIsCopiedWhole) {
  const std::string folder = testing_data::TempFolder("bpe"),
                    copy = testing_data::TempFolder("copy");
  DataBuildConfig config = testing_data::BuildConfigIn(folder);
  config.tokenizer.model = folder + "/tokenizer.json";
  config.tokenizer.kind = TokenizerKind::kBpe;
  config.tokenizer.vocab_size = 800;
  std::ostringstream out, again;
  ASSERT_EQ(BuildTokenizer(config, out), absl::OkStatus());
  ASSERT_EQ(BuildTokenizer(config, again), absl::OkStatus());
  EXPECT_THAT(again.str(), HasSubstr("nothing to do"));
  const auto tokenizer = OpenTokenizer(config.tokenizer.model).value();
  EXPECT_EQ(tokenizer->vocab_size(), 800);
  EXPECT_EQ(tokenizer->bos_id(), 0);
  EXPECT_EQ(tokenizer->eos_id(), 1);
  EXPECT_EQ(tokenizer->pad_id(), 2);
  EXPECT_EQ(TokenizerFileName(config.tokenizer.model).value(), "tokenizer.json");
  ASSERT_EQ(CopyTokenizer(config.tokenizer.model, copy), absl::OkStatus());
  const auto copied = OpenTokenizer(FindTokenizer(copy).value()).value();
  EXPECT_EQ(copied->fingerprint(), tokenizer->fingerprint());
  const FertilityCounts counts = Fertility(*tokenizer, "ab \u00e9\n\nc\xff");
  EXPECT_EQ(counts.characters, 8);
  EXPECT_EQ(counts.words, 3);
  EXPECT_EQ(counts.bytes, 9);
  EXPECT_EQ(counts.tokens, static_cast<int64_t>(tokenizer->Encode("ab \u00e9\n\nc\xff").size()));
}

// Records that name no language: each is identified, and the sample is balanced by what was found.
TEST(BpeTrainer, LanguagesMayBeIdentified) {
  const std::string folder = testing_data::TempFolder("bpe-assign");
  const char* const texts[] = {
      "Die Kinder spielen heute im Garten, weil das Wetter so sch\u00f6n ist.",
      "The children are playing in the garden today because the weather is fine."};
  std::string lines;
  for (int i = 0; i < 40; ++i) lines += StrCat(R"({"text": ")", texts[i % 2], i, "\"}\n");
  ASSERT_EQ(WriteFileAtomic(folder + "/mixed.jsonl", lines), absl::OkStatus());
  DataBuildConfig config = testing_data::BuildConfigIn(folder);
  config.corpus.path.clear();
  config.corpus.inputs.push_back({{folder + "/mixed.jsonl"}});
  config.clean.language_id.action = LanguageAction::kAssign;
  config.tokenizer.model = folder + "/tokenizer.json";
  config.tokenizer.kind = TokenizerKind::kBpe;
  config.tokenizer.vocab_size = 280;
  std::ostringstream out;
  ASSERT_EQ(BuildTokenizer(config, out), absl::OkStatus());
  const auto note = nlohmann::json::parse(ReadFile(config.tokenizer.model + ".json").value());
  EXPECT_EQ(note.at("sample_bytes").size(), 2);
  EXPECT_TRUE(note.at("sample_bytes").contains("de"));
  EXPECT_TRUE(note.at("sample_bytes").contains("en"));
}

}  // namespace
}  // namespace choir
