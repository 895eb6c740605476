#include "data/order/augment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "data/tokenizer/sentencepiece_model.h"
#include "data/tokenizer/sentencepiece_tokenizer.h"
#include "tests/data/test_corpus.h"

namespace choir {
namespace {

using ::testing::HasSubstr;

// A tokenizer of a few words, the longest that fits first. Ids are places in the list.
class WordTokenizer : public Tokenizer {
 public:
  explicit WordTokenizer(std::vector<std::string> words) : words_(std::move(words)) {}

  using Tokenizer::Encode;
  void Encode(std::string_view text, std::vector<int32_t>& ids) const override {
    while (!text.empty()) {
      size_t best = words_.size();
      for (size_t w = 0; w < words_.size(); ++w) {
        if (words_[w].empty() || !text.starts_with(words_[w])) continue;
        if (best == words_.size() || words_[w].size() > words_[best].size()) best = w;
      }
      if (best == words_.size()) {
        ids.insert(ids.end(), text.size(), -1);
        return;
      }
      ids.push_back(static_cast<int32_t>(best));
      text.remove_prefix(words_[best].size());
    }
  }
  std::string_view Bytes(int32_t id) const override { return words_.at(id); }
  int64_t vocab_size() const override { return static_cast<int64_t>(words_.size()); }
  int32_t bos_id() const override { return 0; }
  int32_t eos_id() const override { return 1; }
  int32_t pad_id() const override { return 2; }
  const std::string& fingerprint() const override { return fingerprint_; }

 private:
  std::vector<std::string> words_;
  std::string fingerprint_ = "words";
};

// 0 beginning, 1 end, 2 padding, 3..5 the marks, then words.
const WordTokenizer& Words() {
  static const WordTokenizer tokenizer({"", "", "", "<|fim_prefix|>", "<|fim_middle|>",
                                        "<|fim_suffix|>", "a", ".", "\n", "\n\n", ".\n",
                                        "\xE3\x80\x82\n\n", "\xE3\x80\x82", "a\n", ")\r\n", ")"});
  return tokenizer;
}

TokenDocument Document(const std::vector<uint16_t>& tokens, uint64_t id) {
  TokenDocument document;
  document.tokens = tokens.data();
  document.length = static_cast<int64_t>(tokens.size());
  document.id = id;
  return document;
}

std::vector<int32_t> TokensOf(const DocumentView& view) {
  std::vector<int32_t> tokens(static_cast<size_t>(view.length()));
  view.CopyTo(0, view.length(), tokens.data());
  return tokens;
}

TEST(Augment, NothingByDefault) {
  EXPECT_FALSE(Augmenter::IsWanted({}));
  const std::vector<uint16_t> tokens = {0, 6, 10, 1};
  EXPECT_EQ(TokensOf(Augmenter().Augment(Document(tokens, 1), 0)),
            (std::vector<int32_t>{0, 6, 10, 1}));
}

TEST(Augment, SplitsPunctuationFromLineBreaks) {
  PackingConfig config;
  config.split_punctuation = 1;
  const auto augmenter = Augmenter::Make(config, Words(), 1).value();
  // "a.\n" "。\n\n" "a\n" ")\r\n": a letter before the line break is no punctuation, and "\r\n" is
  // no token of its own.
  const std::vector<uint16_t> tokens = {0, 6, 10, 11, 13, 14, 1};
  EXPECT_EQ(TokensOf(augmenter.Augment(Document(tokens, 1), 0)),
            (std::vector<int32_t>{0, 6, 7, 8, 12, 9, 13, 14, 1}));
}

TEST(Augment, SplitsAtTheRateAskedFor) {
  PackingConfig config;
  config.split_punctuation = 0.25;
  const auto augmenter = Augmenter::Make(config, Words(), 1).value();
  constexpr int64_t kTokens = 40'000;
  std::vector<uint16_t> tokens(kTokens + 2, 10);
  tokens.front() = 0;
  tokens.back() = 1;
  const int64_t split = augmenter.Augment(Document(tokens, 5), 0).length() - kTokens - 2;
  // Five standard deviations of a binomial.
  EXPECT_NEAR(static_cast<double>(split), 0.25 * kTokens, 5 * std::sqrt(0.25 * 0.75 * kTokens));
}

TEST(Augment, FillInTheMiddleKeepsEveryToken) {
  PackingConfig config;
  config.fim_rate = 1;
  for (const double spm : {0.0, 1.0}) {
    config.fim_spm_rate = spm;
    const auto augmenter = Augmenter::Make(config, Words(), 1).value();
    // Tokens that can be told apart; they need not be words.
    const std::vector<uint16_t> tokens = {0, 100, 101, 102, 103, 104, 1};
    std::set<std::vector<int32_t>> seen;
    for (uint64_t id = 0; id < 400; ++id) {
      const std::vector<int32_t> out = TokensOf(augmenter.Augment(Document(tokens, id), 0));
      ASSERT_EQ(out.size(), tokens.size() + 3);
      // Put together again: prefix, middle, suffix.
      const auto at = [&](int32_t mark) { return std::find(out.begin(), out.end(), mark); };
      ASSERT_EQ(at(3), out.begin() + 1);
      std::vector<int32_t> whole = {0};
      if (spm == 0) whole.insert(whole.end(), out.begin() + 2, at(5));
      whole.insert(whole.end(), at(4) + 1, out.end() - 1);
      whole.insert(whole.end(), at(5) + 1, at(4));
      whole.push_back(1);
      ASSERT_EQ(whole, std::vector<int32_t>(tokens.begin(), tokens.end()));
      if (spm == 1) {
        ASSERT_EQ(at(5), out.begin() + 2);
      }
      seen.insert(out);
    }
    // 6 places to cut at make 21 pairs; in SPM the middle's beginning is not to be seen.
    EXPECT_EQ(seen.size(), spm == 0 ? 21u : 6u);
  }
}

TEST(Augment, IsAFunctionOfSeedDocumentAndEpoch) {
  PackingConfig config;
  config.fim_rate = 0.5;
  config.split_punctuation = 0.5;
  const std::vector<uint16_t> tokens = {0, 6, 10, 10, 6, 10, 10, 6, 10, 10, 1};
  std::map<std::vector<int32_t>, int> forms;
  int fim = 0;
  constexpr int kDocuments = 2000;
  for (uint64_t id = 0; id < kDocuments; ++id) {
    const auto one = Augmenter::Make(config, Words(), 1).value();
    const auto two = Augmenter::Make(config, Words(), 1).value();
    const std::vector<int32_t> out = TokensOf(one.Augment(Document(tokens, id), 3));
    ASSERT_EQ(out, TokensOf(two.Augment(Document(tokens, id), 3)));
    ++forms[out];
    fim += out[1] == 3;
  }
  EXPECT_NEAR(fim, kDocuments / 2, 5 * std::sqrt(kDocuments / 4.0));
  EXPECT_GT(forms.size(), 100u);
  const auto all = [&](uint64_t seed, int64_t epoch) {
    const auto augmenter = Augmenter::Make(config, Words(), seed).value();
    std::vector<std::vector<int32_t>> out;
    for (uint64_t id = 0; id < 20; ++id) {
      out.push_back(TokensOf(augmenter.Augment(Document(tokens, id), epoch)));
    }
    return out;
  };
  EXPECT_NE(all(1, 0), all(1, 1));
  EXPECT_NE(all(1, 0), all(2, 0));
}

TEST(Augment, RefusesATokenizerWithoutTheTokens) {
  const WordTokenizer plain({"", "", "", "a", ".", "\n"});
  PackingConfig config;
  config.fim_rate = 0.1;
  std::string message{Augmenter::Make(config, plain, 1).status().message()};
  EXPECT_THAT(message, HasSubstr("data.packing.fim_prefix: "));
  EXPECT_THAT(message, HasSubstr("'<|fim_prefix|>'"));
  config.fim_rate = 0;
  config.split_punctuation = 0.1;
  message = std::string(Augmenter::Make(config, plain, 1).status().message());
  EXPECT_THAT(message, HasSubstr("data.packing.split_punctuation: "));
}

// Control symbols stand for no text, and are found all the same.
TEST(Augment, FindsTheMarksOfASentencePieceModel) {
  std::string error;
  const std::string model =
      TrainSentencePieceModel({{"model_type", "bpe"},
                               {"vocab_size", "300"},
                               {"hard_vocab_limit", "false"},
                               {"byte_fallback", "true"},
                               {"normalization_rule_name", "identity"},
                               {"remove_extra_whitespaces", "false"},
                               {"add_dummy_prefix", "false"},
                               {"control_symbols", "<|fim_prefix|>"},
                               {"user_defined_symbols", "<|fim_middle|>"},
                               {"pad_id", "3"},
                               {"minloglevel", "2"}},
                              {"some words of a text", "and some more words"}, error);
  ASSERT_FALSE(model.empty()) << error;
  const auto tokenizer = SentencePieceTokenizer::FromModel(model, "marks.model").value();
  const int32_t control = tokenizer->FindId("<|fim_prefix|>");
  ASSERT_GE(control, 0);
  EXPECT_EQ(tokenizer->Bytes(control), "");
  const int32_t text = tokenizer->FindId("<|fim_middle|>");
  ASSERT_GE(text, 0);
  EXPECT_EQ(tokenizer->Bytes(text), "<|fim_middle|>");
  EXPECT_EQ(tokenizer->FindId("<|fim_suffix|>"), -1);
}

}  // namespace
}  // namespace choir
