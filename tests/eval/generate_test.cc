#include "eval/generate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "tests/model/model_testing.h"

namespace choir {
namespace {

// The distribution to sample from, written down from the definition: token and probability, in the
// order in which the interval [0, 1) is shared out.
std::vector<std::pair<int32_t, double>> Distribution(const std::vector<float>& logits,
                                                     const GenerateOptions& options) {
  std::vector<std::pair<int32_t, double>> all;
  double total = 0;
  for (float logit : logits) {
    const double e = std::exp(static_cast<double>(logit) / options.temperature);
    all.push_back({static_cast<int32_t>(all.size()), e});
    total += e;
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  // The smallest prefix that has the mass: try every length.
  for (size_t n = 1; n <= all.size(); ++n) {
    double mass = 0;
    for (size_t i = 0; i < n; ++i) mass += all[i].second / total;
    if (mass < options.top_p && n < all.size()) continue;
    all.resize(n);
    for (auto& [token, p] : all) p /= total * mass;
    break;
  }
  return all;
}

TEST(SampleToken, EqualsBruteForce) {
  const CounterRandom random(1, "logits");
  std::vector<float> logits;
  for (uint64_t i = 0; i < 23; ++i) logits.push_back(static_cast<float>(2 * random.Normal(i)));
  for (const double temperature : {0.3, 1.0, 2.5}) {
    for (const double top_p : {0.0, 0.2, 0.5, 0.9, 0.999, 1.0}) {
      const GenerateOptions options{.temperature = temperature, .top_p = top_p};
      double begin = 0;
      for (const auto& [token, p] : Distribution(logits, options)) {
        // Just inside both ends of its share; rounding decides at the ends themselves.
        for (const double u : {begin + 1e-9, begin + p / 2, begin + p - 1e-9}) {
          if (p < 1e-8 || u >= 1) continue;
          EXPECT_EQ(SampleToken(logits, options, u), token)
              << "temperature " << temperature << ", top_p " << top_p << ", uniform " << u;
        }
        begin += p;
      }
      EXPECT_NEAR(begin, 1, 1e-12);
    }
  }
}

TEST(SampleToken, EqualLogitsInTheOrderOfIds) {
  const std::vector<float> logits{1, 3, 3, 3, 0};
  EXPECT_EQ(SampleToken(logits, {.temperature = 0}, 0.999), 1);
  EXPECT_EQ(SampleToken(logits, {.temperature = 1, .top_p = 0.1}, 0.999), 1);
  // Three equal ones of a bit under a third each: two of them make half.
  EXPECT_EQ(SampleToken(logits, {.temperature = 1, .top_p = 0.5}, 0.999), 2);
}

TEST(SampleToken, HugeLogitsDoNotOverflow) {
  const std::vector<float> logits{-1e30f, 1000, 999, -INFINITY};
  EXPECT_EQ(SampleToken(logits, {.temperature = 0.01}, 0.5), 1);
  const double p = 1 / (1 + std::exp(-1.0));
  EXPECT_EQ(SampleToken(logits, {}, p - 1e-9), 1);
  EXPECT_EQ(SampleToken(logits, {}, p + 1e-9), 2);
  EXPECT_EQ(SampleToken(logits, {}, std::nextafter(1.0, 0.0)), 2);
}

// Id i stands for the i-th of a few strings that cut characters apart.
class PieceTokenizer : public Tokenizer {
 public:
  using Tokenizer::Encode;
  void Encode(std::string_view text, std::vector<int32_t>& ids) const override {
    for (char c : text) ids.push_back(3 + static_cast<unsigned char>(c) % (kVocab - 3));
  }
  std::string_view Bytes(int32_t id) const override {
    static const std::vector<std::string> kPieces = {"a",    "\xc3", "\xa9", "\xe2\x82", "\xac",
                                                     "\xf0", "\x9f", "\x98", "\x80",     " "};
    CHECK(id >= 0 && id < kVocab);
    return id < 3 ? std::string_view() : std::string_view(kPieces[static_cast<size_t>(id) % 10]);
  }
  int64_t vocab_size() const override { return kVocab; }
  int32_t bos_id() const override { return 1; }
  int32_t eos_id() const override { return 2; }
  int32_t pad_id() const override { return 0; }
  const std::string& fingerprint() const override {
    static const std::string fingerprint(32, '0');
    return fingerprint;
  }

  static constexpr int32_t kVocab = testing_model::kVocab;
};

class GenerateTest : public ::testing::Test {
 protected:
  GenerateTest() : model_(testing_model::MoeModelConfig(), PieceTokenizer::kVocab, {}) {
    model_.Initialize(31);
  }
  Transformer model_;
  PieceTokenizer tokenizer_;
};

TEST_F(GenerateTest, TheSameSeedGivesTheSameText) {
  GenerateOptions options{.temperature = 1.5, .seed = 7, .max_tokens = 40};
  const std::string text = Generate(model_, tokenizer_, "prompt", options);
  EXPECT_EQ(Generate(model_, tokenizer_, "prompt", options), text);
  std::set<std::string> texts{text};
  for (options.seed = 8; options.seed < 12; ++options.seed) {
    texts.insert(Generate(model_, tokenizer_, "prompt", options));
  }
  EXPECT_EQ(texts.size(), 5u);
}

// Greedy text token by token from whole forward passes, without any cache.
TEST_F(GenerateTest, TemperatureZeroTakesTheLikeliestOfTheWholeForward) {
  constexpr int64_t kNew = 12;
  std::vector<int32_t> tokens{tokenizer_.bos_id()};
  tokenizer_.Encode("ab", tokens);
  std::string expected;
  for (int64_t i = 0; i < kNew; ++i) {
    testing_model::TestBatch batch;
    batch.AddDocument(static_cast<int64_t>(tokens.size()), 0);
    batch.tokens = tokens;
    const Tensor logits = model_.Logits(testing_model::ToInput(batch), nullptr);
    const Tensor last = logits.Rows(logits.dim(0) - 1, 1);
    const auto row = last.span<float>();
    const auto best = static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
    if (best == tokenizer_.eos_id()) break;
    expected += tokenizer_.Bytes(best);
    tokens.push_back(best);
  }
  EXPECT_EQ(Generate(model_, tokenizer_, "ab", {.temperature = 0, .max_tokens = kNew}), expected);
  EXPECT_FALSE(expected.empty());
}

// Whether position `at` is inside a character, none of whose bytes is missing.
bool SplitsCharacter(const std::string& text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  for (size_t back = 1; back <= std::min<size_t>(3, at); ++back) {
    const unsigned char lead = byte(at - back);
    if (lead >= 0x80 && lead < 0xc0) continue;
    const size_t length = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (length <= back || at - back + length > text.size()) return false;
    for (size_t i = at; i < at - back + length; ++i) {
      if (byte(i) < 0x80 || byte(i) >= 0xc0) return false;
    }
    return true;
  }
  return false;
}

TEST_F(GenerateTest, EmitsWholeCharactersThatAddUpToTheText) {
  ASSERT_TRUE(SplitsCharacter("a\xe2\x82\xac", 2));
  ASSERT_TRUE(SplitsCharacter("a\xe2\x82\xac", 3));
  ASSERT_FALSE(SplitsCharacter("a\xe2\x82\xac", 4));
  ASSERT_FALSE(SplitsCharacter("a\xe2\x82z", 2));
  int64_t characters = 0;
  for (int64_t seed = 0; seed < 40; ++seed) {
    std::vector<std::string> pieces;
    const std::string text =
        Generate(model_, tokenizer_, "x", {.temperature = 2, .seed = seed, .max_tokens = 60},
                 [&](std::string_view piece) { pieces.emplace_back(piece); });
    EXPECT_EQ(std::accumulate(pieces.begin(), pieces.end(), std::string()), text);
    size_t at = 0;
    for (const std::string& piece : pieces) {
      EXPECT_FALSE(piece.empty());
      at += piece.size();
      EXPECT_FALSE(SplitsCharacter(text, at)) << "seed " << seed << ", byte " << at;
    }
    for (size_t i = 0; i < text.size(); ++i) characters += SplitsCharacter(text, i);
  }
  EXPECT_GT(characters, 20);  // there were some to split
}

TEST_F(GenerateTest, StopsAtTheLimitAndAtTheEndOfText) {
  const auto count = [&](const GenerateOptions& options) {
    return Generate(model_, tokenizer_, "x", options).size();
  };
  EXPECT_EQ(count({.max_tokens = 0}), 0u);
  // A last norm of zero leaves no hidden state, so all tokens are equally likely: some seeds meet
  // the end of text within 400 of them (a chance of 1 - (82/83)^400 each), and no text runs on.
  for (const auto& entry : model_.parameters()) {
    if (entry.parameter->name == "final_norm") entry.parameter->value.Zero();
  }
  const int64_t seed = 5;
  const CounterRandom random(seed, "generate");
  std::string expected;
  bool ended = false;
  for (uint64_t i = 0; i < 400 && !ended; ++i) {
    const auto token = static_cast<int32_t>(random.Uniform(i) * PieceTokenizer::kVocab);
    ended = token == tokenizer_.eos_id();
    if (!ended) expected += tokenizer_.Bytes(token);
  }
  ASSERT_TRUE(ended);
  EXPECT_EQ(Generate(model_, tokenizer_, "x", {.seed = seed, .max_tokens = 400}), expected);
}

}  // namespace
}  // namespace choir
