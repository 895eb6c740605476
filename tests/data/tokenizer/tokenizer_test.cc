#include "data/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <sstream>

#include "base/file.h"
#include "base/random.h"
#include "data/tokenizer/sentencepiece_model.h"
#include "data/tokenizer/sentencepiece_tokenizer.h"
#include "tests/data/test_corpus.h"

namespace choir {
namespace {

using ::testing::HasSubstr;
using testing_data::FixtureFolder;
using testing_data::FixtureRecords;

const Tokenizer& FixtureTokenizer() {
  static const auto tokenizer = OpenTokenizer(FixtureFolder() + "/shards/tokenizer.model").value();
  return *tokenizer;
}

TEST(Tokenizer, RoundTripInEveryLanguage) {
  std::set<std::string> languages;
  for (const char* const split : {"train", "heldout"}) {
    for (const nlohmann::json& record : FixtureRecords(split)) {
      const std::string text = record.at("text");
      const std::vector<int32_t> ids = FixtureTokenizer().Encode(text);
      ASSERT_EQ(FixtureTokenizer().Decode(ids), text);
      EXPECT_LT(ids.size(), text.size()) << "no piece is longer than a byte";
      languages.insert(record.at("language"));
    }
  }
  EXPECT_GE(languages.size(), 28u);
}

TEST(Tokenizer, RoundTripOfHostileText) {
  const std::vector<std::string> texts = {
      "", " ", "  ", "\n", "\r\n\r\n", "\t\ta", " leading", "trailing ", "a  b   c\n\n  d ",
      std::string("\0", 1), std::string("a\0b\0\0", 5), "\x01\x02\x7f", "\u2581",
      "a\u2581b \u2581\u2581 ", "\u2047", " \u2047 ", "<s></s><unk><pad><0x41>", "<0x0A>",
      "\ufb01\uff21\u00c5A\u030a\u1e9e", "\u00a0\u3000\u2003\u200b\u200d\ufeff\u202e",
      "\U0001F468\u200d\U0001F469\u200d\U0001F467\U0001F1E9\U0001F1EA", "\u0e01\u0e33\u0e49",
      "\uffff\ufffd\U0010ffff\U000e0001", "e\u0301\u0301\u0301\u0301", std::string(100'000, 'a'),
      std::string(20'000, ' '), std::string(20'000, '\n'),
      // Not UTF-8 at all, and cut characters.
      "\xff\xfe", "a\x80z", "\xe2\x96", "\xe2\x96\xe2\x96\x81", "\xed\xa0\x80", "\xc0\x80",
      "\xf5\x80\x80\x80"};
  for (const std::string& text : texts) {
    EXPECT_EQ(FixtureTokenizer().Decode(FixtureTokenizer().Encode(text)), text)
        << text.substr(0, 40);
  }
}

TEST(Tokenizer, RoundTripOfRandomBytesAndRandomCharacters) {
  const CounterRandom random(1, "tokenizer_test");
  uint64_t at = 0;
  for (int trial = 0; trial < 300; ++trial) {
    std::string bytes, characters;
    const uint64_t length = random.Below(at++, 200);
    for (uint64_t i = 0; i < length; ++i) {
      bytes += static_cast<char>(random.Below(at++, 256));
      static constexpr std::string_view kAlphabet[] = {
          " ", "\n", "a", "\u2581", "\u00e9", "\u4e2d", "\u0e01", "\U0001F600", "1", "\xe2", "."};
      characters += kAlphabet[random.Below(at++, std::size(kAlphabet))];
    }
    ASSERT_EQ(FixtureTokenizer().Decode(FixtureTokenizer().Encode(bytes)), bytes);
    ASSERT_EQ(FixtureTokenizer().Decode(FixtureTokenizer().Encode(characters)), characters);
  }
}

TEST(Tokenizer, TextNeverBecomesASpecialId) {
  const Tokenizer& tokenizer = FixtureTokenizer();
  EXPECT_EQ(tokenizer.vocab_size(), 2000);
  std::set<int32_t> special = {0, tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id()};
  EXPECT_EQ(special.size(), 4u);
  for (const int32_t id : special) EXPECT_EQ(tokenizer.Bytes(id), "");
  for (const int32_t id : tokenizer.Encode("<unk><s></s><pad> \u2047 \x01\x02")) {
    EXPECT_FALSE(special.contains(id)) << id;
  }
  // Every other id stands for something.
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    EXPECT_EQ(tokenizer.Bytes(id).empty(), special.contains(id)) << id;
  }
}

TEST(Tokenizer, TrainingIsDeterministicAndSettingsMatter) {
  std::vector<std::string> sentences;
  for (const nlohmann::json& record : FixtureRecords("train")) {
    std::istringstream lines{std::string(record.at("text"))};
    for (std::string line; sentences.size() < 400 && std::getline(lines, line);) {
      sentences.push_back(line);
    }
  }
  TokenizerConfig config;
  config.vocab_size = 1600;
  config.character_coverage = 0.98;
  const std::string first = TrainSentencePiece(sentences, config).value();
  EXPECT_EQ(first, TrainSentencePiece(sentences, config).value());
  config.vocab_size = 1601;
  const std::string second = TrainSentencePiece(sentences, config).value();
  const auto a = SentencePieceTokenizer::FromModel(first, "a").value();
  const auto b = SentencePieceTokenizer::FromModel(second, "b").value();
  EXPECT_EQ(a->vocab_size(), 1600);
  EXPECT_EQ(b->vocab_size(), 1601);
  EXPECT_NE(a->fingerprint(), b->fingerprint());
  EXPECT_EQ(a->fingerprint(), SentencePieceTokenizer::FromModel(first, "c").value()->fingerprint());
}

TEST(Tokenizer, AVocabularyTooLargeForTheSampleIsAnError) {
  TokenizerConfig config;
  config.vocab_size = 5000;
  const auto model = TrainSentencePiece({"a few words", "and a few more"}, config);
  EXPECT_THAT(std::string(model.status().message()), HasSubstr("vocab_size 5000"));
}

// Models of other settings lose text, and are refused with the reason.
TEST(Tokenizer, RefusesModelsThatLoseText) {
  const std::vector<std::string> sentences(50, "some words to learn from, over and over again");
  const auto refusal = [&](std::unordered_map<std::string, std::string> changes) {
    std::unordered_map<std::string, std::string> arguments = {
        {"model_type", "bpe"},
        {"vocab_size", "290"},
        {"byte_fallback", "true"},
        {"normalization_rule_name", "identity"},
        {"add_dummy_prefix", "false"},
        {"remove_extra_whitespaces", "false"},
        {"pad_id", "3"},
        {"minloglevel", "2"}};
    for (const auto& [key, value] : changes) arguments[key] = value;
    std::string error;
    const std::string model = TrainSentencePieceModel(arguments, sentences, error);
    EXPECT_NE(model, "") << error;
    const auto tokenizer = SentencePieceTokenizer::FromModel(model, "m.model");
    return std::string(tokenizer.status().message());
  };
  EXPECT_EQ(refusal({}), "");
  EXPECT_THAT(refusal({{"byte_fallback", "false"}, {"vocab_size", "40"}}),
              HasSubstr("m.model: the model has no byte fallback"));
  EXPECT_THAT(refusal({{"normalization_rule_name", "nmt_nfkc"}}), HasSubstr("changes text"));
  EXPECT_THAT(refusal({{"normalization_rule_name", "nfkc"}}), HasSubstr("changes text"));
  EXPECT_THAT(refusal({{"add_dummy_prefix", "true"}}), HasSubstr("changes text"));
  EXPECT_THAT(refusal({{"remove_extra_whitespaces", "true"}}), HasSubstr("changes text"));
  EXPECT_THAT(refusal({{"pad_id", "-1"}}), HasSubstr("pad -1"));
  EXPECT_THAT(std::string(SentencePieceTokenizer::FromModel("junk", "x").status().message()),
              HasSubstr("x: not a SentencePiece model"));
}

TEST(Tokenizer, BuildReusesWhatIsUpToDate) {
  const std::string folder = testing_data::TempFolder("reuse");
  DataBuildConfig config = testing_data::BuildConfigIn(folder);
  std::ostringstream first, second, third, fourth;
  ASSERT_EQ(BuildTokenizer(config, first), absl::OkStatus());
  EXPECT_THAT(first.str(), HasSubstr("training a tokenizer of 2000 ids"));
  const std::string model = ReadFile(config.tokenizer.model).value();
  ASSERT_EQ(BuildTokenizer(config, second), absl::OkStatus());
  EXPECT_THAT(second.str(), HasSubstr("nothing to do"));
  config.tokenizer.vocab_size = 1990;
  ASSERT_EQ(BuildTokenizer(config, third), absl::OkStatus());
  EXPECT_THAT(third.str(), HasSubstr("1990 ids"));
  // A damaged model is made again, and as it was.
  config.tokenizer.vocab_size = 2000;
  testing_data::WriteText(config.tokenizer.model, model.substr(0, model.size() / 2));
  ASSERT_EQ(BuildTokenizer(config, fourth), absl::OkStatus());
  EXPECT_EQ(ReadFile(config.tokenizer.model).value(), model);
}

TEST(Tokenizer, EncodeAndDecodeCommands) {
  const std::string model = FixtureFolder() + "/shards/tokenizer.model";
  const std::string text = " two words\nand \u4e2d ";
  std::ostringstream ids, back;
  ASSERT_EQ(EncodeText(model, text, ids), absl::OkStatus());
  ASSERT_EQ(DecodeIds(model, ids.str(), back), absl::OkStatus());
  EXPECT_EQ(back.str(), text);
  for (const char* const bad : {"2000", "-1", "12x", "99999999999"}) {
    EXPECT_THAT(std::string(DecodeIds(model, bad, back).message()), HasSubstr("0 to 1999"));
  }
  EXPECT_TRUE(absl::IsNotFound(EncodeText(model + ".none", text, ids)));
}

}  // namespace
}  // namespace choir
