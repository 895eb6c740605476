#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>

#include "base/random.h"
#include "data/tokenizer/bpe_encoder.h"
#include "data/tokenizer/bpe_model.h"

namespace choir {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view kLetters4 = "abc ";

// All bytes, then merges of random tokens, whose results are new tokens or, sometimes, old ones.
BpeVocabulary RandomVocabulary(const CounterRandom& random, uint64_t& at, int merges) {
  BpeVocabulary vocabulary;
  std::map<std::string, int32_t> ids;
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.bytes.emplace_back(1, static_cast<char>(byte));
    ids[vocabulary.bytes.back()] = byte;
  }
  std::vector<int32_t> pool;
  for (const char c : kLetters4) pool.push_back(static_cast<unsigned char>(c));
  for (int m = 0; m < merges; ++m) {
    const int32_t left = pool[random.Below(at++, pool.size())];
    const int32_t right = pool[random.Below(at++, pool.size())];
    const std::string both = vocabulary.bytes[left] + vocabulary.bytes[right];
    if (both.size() > 12) continue;
    const auto [known, is_new] = ids.emplace(both, static_cast<int32_t>(vocabulary.bytes.size()));
    if (is_new) vocabulary.bytes.push_back(both), pool.push_back(known->second);
    vocabulary.merges.push_back({left, right, known->second});
  }
  return vocabulary;
}

// The definition, on ids and with every merge as given.
std::vector<int32_t> MergeByDefinition(const BpeVocabulary& vocabulary, std::string_view piece) {
  std::map<std::pair<int32_t, int32_t>, std::pair<size_t, int32_t>> merges;
  for (size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const BpeMerge& merge = vocabulary.merges[rank];
    merges[{merge.left, merge.right}] = {rank, merge.result};
  }
  std::vector<int32_t> ids;
  for (const char c : piece) ids.push_back(static_cast<unsigned char>(c));
  for (;;) {
    size_t best = vocabulary.merges.size(), where = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto merge = merges.find({ids[i], ids[i + 1]});
      if (merge != merges.end() && merge->second.first < best)
        best = merge->second.first, where = i;
    }
    if (best == vocabulary.merges.size()) return ids;
    ids[where] = vocabulary.merges[best].result;
    ids.erase(ids.begin() + static_cast<int64_t>(where) + 1);
  }
}

std::vector<int32_t> EncodePiece(const BpeEncoder& encoder, std::string_view piece) {
  std::vector<int32_t> ids;
  encoder.Encode(piece, {static_cast<uint32_t>(piece.size())}, ids);
  return ids;
}

TEST(Bpe, EncoderAndMergeQueueAreTheDefinition) {
  const CounterRandom random(5, "bpe_test");
  uint64_t at = 0;
  int monotone = 0;
  for (int trial = 0; trial < 150; ++trial) {
    BpeVocabulary vocabulary = RandomVocabulary(random, at, 5 + static_cast<int>(trial % 60));
    if (trial % 3 == 2) {
      // Any order of merges: tokens may then come before their parts.
      for (size_t i = vocabulary.merges.size(); i > 1; --i) {
        std::swap(vocabulary.merges[i - 1], vocabulary.merges[random.Below(at++, i)]);
      }
    }
    const BpeModel model = BpeModel::Make(vocabulary, "random").value();
    monotone += model.monotone;
    const BpeEncoder encoder(model);
    for (int text = 0; text < 60; ++text) {
      std::string piece;
      const uint64_t length = 1 + random.Below(at++, text < 50 ? 24 : 150);
      for (uint64_t i = 0; i < length; ++i) piece += kLetters4[random.Below(at++, 4)];
      const std::vector<int32_t> expected = MergeByDefinition(vocabulary, piece);
      ASSERT_EQ(EncodePiece(encoder, piece), expected) << trial << ": " << piece;
      ASSERT_EQ(EncodePiece(encoder, piece), expected) << "from the cache";
      std::vector<int32_t> codes;
      model.Merge(piece, codes);
      for (int32_t& code : codes) code = model.ids[code];
      ASSERT_EQ(codes, expected) << trial << ": " << piece;
    }
  }
  EXPECT_GT(monotone, 60) << "the linear encoder was tested";
  EXPECT_LT(monotone, 150) << "and what replaces it";
}

// Merging neighbours whose bytes are a token, the lowest rank first, as tiktoken does it.
TEST(Bpe, MergesOfRanksAreTheDefinition) {
  const CounterRandom random(6, "ranks");
  uint64_t at = 0;
  for (int trial = 0; trial < 100; ++trial) {
    BpeVocabulary vocabulary = RandomVocabulary(random, at, 10 + trial);
    vocabulary.merges = MergesOfRanks(vocabulary.bytes, "ranks").value();
    // Some ranks that nothing merges to.
    const BpeEncoder encoder(BpeModel::Make(vocabulary, "ranks").value());
    std::map<std::string, int32_t> ranks;
    for (size_t i = 0; i < vocabulary.bytes.size(); ++i) {
      ranks[vocabulary.bytes[i]] = static_cast<int32_t>(i);
    }
    for (int text = 0; text < 40; ++text) {
      std::string piece;
      for (uint64_t i = 1 + random.Below(at++, 30); i > 0; --i) {
        piece += kLetters4[random.Below(at++, 4)];
      }
      std::vector<std::string> parts;
      for (const char c : piece) parts.emplace_back(1, c);
      for (;;) {
        auto best = ranks.end();
        size_t where = 0;
        for (size_t i = 0; i + 1 < parts.size(); ++i) {
          const auto found = ranks.find(parts[i] + parts[i + 1]);
          if (found == ranks.end()) continue;
          if (best == ranks.end() || found->second < best->second) best = found, where = i;
        }
        if (best == ranks.end()) break;
        parts[where] = best->first;
        parts.erase(parts.begin() + static_cast<int64_t>(where) + 1);
      }
      std::vector<int32_t> expected;
      for (const std::string& part : parts) expected.push_back(ranks.at(part));
      ASSERT_EQ(EncodePiece(encoder, piece), expected) << piece;
    }
  }
}

TEST(Bpe, AMegabyteOfOneCharacterTakesNoTime) {
  BpeVocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) vocabulary.bytes.emplace_back(1, static_cast<char>(byte));
  for (int doubling = 0; doubling < 6; ++doubling) {
    const auto part = static_cast<int32_t>(doubling == 0 ? 'a' : vocabulary.bytes.size() - 1);
    vocabulary.bytes.push_back(vocabulary.bytes[part] + vocabulary.bytes[part]);
    vocabulary.merges.push_back({part, part, static_cast<int32_t>(vocabulary.bytes.size() - 1)});
  }
  const BpeModel model = BpeModel::Make(vocabulary, "doublings").value();
  const BpeEncoder encoder(model);
  const std::string text(1'000'003, 'a');
  const auto start = std::chrono::steady_clock::now();
  const std::vector<int32_t> ids = EncodePiece(encoder, text);
  std::vector<int32_t> codes;
  model.Merge(text, codes);
  // A quadratic loop takes hours.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
  for (int32_t& code : codes) code = model.ids[code];
  EXPECT_EQ(ids, codes);
  EXPECT_EQ(ids.size(), 1'000'003 / 64 + 2u);
}

TEST(Bpe, WholePiecesGoBeforeMerges) {
  BpeVocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) vocabulary.bytes.emplace_back(1, static_cast<char>(byte));
  vocabulary.bytes.insert(vocabulary.bytes.end(), {"ab", "bc", "abc"});
  vocabulary.merges = {{'b', 'c', 257}, {'a', 'b', 256}};
  for (const bool whole : {false, true}) {
    vocabulary.whole_pieces = whole;
    const BpeEncoder encoder(BpeModel::Make(vocabulary, "whole").value());
    const std::vector<int32_t> expected = whole ? std::vector{258} : std::vector{int{'a'}, 257};
    EXPECT_EQ(EncodePiece(encoder, "abc"), expected);
    EXPECT_EQ(EncodePiece(encoder, "abca"), (std::vector{int{'a'}, 257, int{'a'}}));
  }
}

TEST(Bpe, BadVocabulariesAreErrors) {
  BpeVocabulary good;
  for (int byte = 0; byte < 256; ++byte) good.bytes.emplace_back(1, static_cast<char>(byte));
  good.bytes.emplace_back("ab");
  good.merges = {{'a', 'b', 256}};
  const auto error = [](const BpeVocabulary& vocabulary) {
    return std::string(BpeModel::Make(vocabulary, "v").status().message());
  };
  EXPECT_EQ(error(good), "");
  BpeVocabulary bad = good;
  bad.bytes[7].clear();
  EXPECT_THAT(error(bad), HasSubstr("v: byte 7 has no token"));
  bad = good;
  bad.bytes.emplace_back("a");
  EXPECT_THAT(error(bad), HasSubstr("ids 97 and 257 are the same byte"));
  bad = good;
  bad.merges.push_back({'a', 'c', 256});
  EXPECT_THAT(error(bad), HasSubstr("merge 1 (97 99) does not make token 256"));
  bad = good;
  bad.merges.push_back({'a', 9999, 256});
  EXPECT_THAT(error(bad), HasSubstr("does not make"));
  bad = good;
  bad.bytes.emplace_back(5000, 'x');
  EXPECT_THAT(error(bad), HasSubstr("token 257 has 5000 bytes"));
  EXPECT_THAT(std::string(MergesOfRanks({"a", "b", "a"}, "r").status().message()),
              HasSubstr("ranks 0 and 2 are the same token"));
}

}  // namespace
}  // namespace choir
