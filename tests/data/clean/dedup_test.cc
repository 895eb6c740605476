// Duplicates with known answers.
#include "data/clean/dedup.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "base/random.h"
#include "data/clean/minhash.h"
#include "data/clean/reasons.h"
#include "data/clean/spill_sorter.h"
#include "tests/data/test_corpus.h"

namespace choir {
namespace {

DedupConfig NearConfig() {
  DedupConfig config;
  config.mode = DedupMode::kNear;
  return config;
}

struct Planted {
  std::string text, language, id;
};

std::vector<uint32_t> Shingles(std::string_view text) {
  TextSurvey survey;
  SurveyText(text, survey);
  std::vector<uint32_t> hashes;
  ShingleHashes(survey, 5, 1, hashes);
  return hashes;
}

// From the definition: sets of shingles as text.
double ExactJaccard(std::string_view a, std::string_view b) {
  const auto set = [](std::string_view text) {
    TextSurvey survey;
    SurveyText(text, survey);
    const size_t n =
        std::min(static_cast<size_t>(5 * survey.pieces_per_word()), survey.words.size());
    std::set<std::string> shingles;
    for (size_t i = 0; n > 0 && i + n <= survey.words.size(); ++i) {
      std::string shingle;
      for (size_t k = i; k < i + n; ++k) {
        const Word& word = survey.words[k];
        shingle += std::string(text.substr(word.begin, word.end - word.begin)) + "|";
      }
      shingles.insert(shingle);
    }
    return shingles;
  };
  const std::set<std::string> left = set(a), right = set(b);
  size_t both = 0;
  for (const std::string& shingle : left) both += right.contains(shingle);
  const size_t either = left.size() + right.size() - both;
  return either == 0 ? 0 : static_cast<double>(both) / static_cast<double>(either);
}

// `text` with a share of its words replaced by words that are nowhere else.
std::string Edited(const std::string& text, double share, uint64_t seed) {
  TextSurvey survey;
  SurveyText(text, survey);
  const CounterRandom random(seed, "edit");
  std::string edited;
  size_t done = 0;
  for (size_t i = 0; i < survey.words.size(); ++i) {
    const Word& word = survey.words[i];
    edited += text.substr(done, word.begin - done);
    done = word.end;
    if (random.Uniform(i) >= share) {
      edited += text.substr(word.begin, word.end - word.begin);
    } else if (survey.pieces_per_word() == 2) {
      // A rare Han character, different from place to place.
      const auto c = static_cast<uint32_t>(0x3400 + random.Bits(i) % 6000);
      edited += static_cast<char>(0xE0 | c >> 12);
      edited += static_cast<char>(0x80 | (c >> 6 & 63));
      edited += static_cast<char>(0x80 | (c & 63));
    } else {
      edited += StrCat("w", random.Bits(i) % 1'000'000'007);
    }
  }
  return edited + text.substr(done);
}

// Documents of about 150 to 600 words from the fixture, in every language, all different.
std::vector<Planted> Originals() {
  std::vector<Planted> documents;
  std::string text;
  std::string language;
  std::set<std::string> seen;
  for (const char* split : {"train", "heldout"}) {
    for (const auto& record : testing_data::FixtureRecords(split)) {
      const std::string piece = record["text"];
      if (record["language"] != language) text.clear();
      language = record["language"];
      if (!seen.insert(piece).second) continue;
      text += piece + "\n";
      if (Shingles(text).size() < 100) continue;
      documents.push_back({text, language, StrCat(documents.size())});
      text.clear();
    }
  }
  return documents;
}

DuplicateSet Find(const DedupConfig& config, const std::vector<Planted>& documents,
                  int threads = 1) {
  auto index = DedupIndex::Make(config, testing_data::TempFolder("spill"));
  EXPECT_TRUE(index.ok()) << index.status();
  std::atomic<size_t> next = 0;
  const auto add = [&] {
    for (size_t i; (i = next++) < documents.size();) {
      const Planted& d = documents[i];
      (*index)->Add(DocumentKeyOf(d.text, d.id), (*index)->Sign(d.text, d.language));
    }
  };
  std::vector<std::thread> helpers;
  for (int t = 1; t < threads; ++t) helpers.emplace_back(add);
  add();
  for (std::thread& helper : helpers) helper.join();
  auto duplicates = (*index)->Finish();
  EXPECT_TRUE(duplicates.ok()) << duplicates.status();
  return *std::move(duplicates);
}

std::vector<std::string> ReasonsOf(const DuplicateSet& duplicates,
                                   const std::vector<Planted>& documents) {
  std::vector<std::string> reasons;
  for (const Planted& d : documents) {
    const char* const reason = duplicates.ReasonFor(DocumentKeyOf(d.text, d.id));
    reasons.push_back(reason == nullptr ? "" : reason);
  }
  return reasons;
}

// Every original gets one edited copy. Whether a pair is a duplicate is the exact Jaccard
// similarity of its shingles; a pair is found if either of the two is dropped.
TEST(DedupTest, PlantedNearDuplicates) {
  const std::vector<Planted> originals = Originals();
  ASSERT_GT(originals.size(), 150u);
  const double shares[] = {0.004, 0.01, 0.015, 0.03, 0.05, 0.08, 0.15, 0.4};
  int64_t above = 0, found = 0, wrong = 0, below = 0, close = 0;
  for (const double share : shares) {
    std::vector<Planted> documents;
    for (const Planted& d : originals) {
      documents.push_back(d);
      documents.push_back({Edited(d.text, share, HashOf64(d.id)), d.language, d.id + "'"});
    }
    const std::vector<std::string> reasons = ReasonsOf(Find(NearConfig(), documents), documents);
    for (size_t i = 0; i < documents.size(); i += 2) {
      const double jaccard = ExactJaccard(documents[i].text, documents[i + 1].text);
      const bool dropped = !reasons[i].empty() || !reasons[i + 1].empty();
      const bool duplicate = jaccard >= NearConfig().threshold;
      above += duplicate;
      found += duplicate && dropped;
      below += !duplicate;
      wrong += !duplicate && dropped;
      close += jaccard > 0.7 && jaccard < 0.9;
    }
  }
  const double recall = static_cast<double>(found) / static_cast<double>(above);
  const double precision = static_cast<double>(found) / static_cast<double>(found + wrong);
  std::cout << above << " pairs from J = 0.8, " << below << " below, " << close
            << " within 0.1 of it: recall " << recall << ", precision " << precision << "\n";
  EXPECT_GT(above, 400);
  EXPECT_GT(below, 400);
  EXPECT_GT(close, 100);
  EXPECT_GE(recall, 0.95);
  EXPECT_GE(precision, 0.99);
}

// Originals with exact copies, near copies and copies in another language, enough to spill.
std::vector<Planted> Mixture() {
  std::vector<Planted> documents;
  for (const Planted& d : Originals()) {
    documents.push_back(d);
    documents.push_back({d.text, d.language, d.id + "-copy"});
    documents.push_back({"  " + d.text + "\n\n", "xx", d.id + "-spaces"});
    documents.push_back({Edited(d.text, 0.01, HashOf64(d.id)), d.language, d.id + "-near"});
    documents.push_back({Edited(d.text, 0.01, 3 + HashOf64(d.id)), "xx", d.id + "-abroad"});
  }
  return documents;
}

TEST(DedupTest, ThreadsOrderAndMemoryDoNotMatter) {
  std::vector<Planted> documents = Mixture();
  DedupConfig config = NearConfig();
  const std::vector<std::string> expected = ReasonsOf(Find(config, documents), documents);
  EXPECT_EQ(ReasonsOf(Find(config, documents, 4), documents), expected);
  config.memory = 1 << 16;  // below what the config allows: many runs
  EXPECT_EQ(ReasonsOf(Find(config, documents, 3), documents), expected);
  std::vector<Planted> reversed(documents.rbegin(), documents.rend());
  const DuplicateSet duplicates = Find(config, reversed);
  EXPECT_EQ(ReasonsOf(duplicates, documents), expected);
  EXPECT_GT(duplicates.near(), 100);
}

// Of equal texts all but that of the smallest key are exact duplicates.
TEST(DedupTest, KeepsTheSmallestKeyOfAGroup) {
  const std::vector<Planted> documents = Mixture();
  const std::vector<std::string> reasons = ReasonsOf(Find(NearConfig(), documents), documents);
  std::map<std::vector<std::string>, std::vector<std::pair<DocumentKey, std::string>>> groups;
  for (size_t i = 0; i < documents.size(); ++i) {
    std::istringstream stream(documents[i].text);
    std::vector<std::string> words;
    for (std::string word; stream >> word;) words.push_back(word);
    groups[words].push_back({DocumentKeyOf(documents[i].text, documents[i].id), reasons[i]});
  }
  EXPECT_GT(groups.size(), 300u);
  for (auto& [words, group] : groups) {
    std::sort(group.begin(), group.end());
    EXPECT_NE(group[0].second, kExactDuplicate);
    for (size_t i = 1; i < group.size(); ++i) EXPECT_EQ(group[i].second, kExactDuplicate);
  }
}

TEST(DedupTest, NearDuplicatesInOtherLanguagesStay) {
  std::vector<Planted> documents;
  for (const Planted& d : Originals()) {
    documents.push_back(d);
    documents.push_back({Edited(d.text, 0.004, HashOf64(d.id)), "xx", d.id + "'"});
  }
  EXPECT_EQ(Find(NearConfig(), documents).near(), 0);
  for (Planted& d : documents) d.language = "xx";
  EXPECT_GT(Find(NearConfig(), documents).near(), 100);
}

// a ~ b ~ c with a and c too different: one group, and the smallest key of all three stays.
TEST(DedupTest, ChainsAreOneGroup) {
  DedupConfig config = NearConfig();
  config.bands = 100;  // pairs this similar are then always compared
  int chains = 0;
  for (const Planted& d : Originals()) {
    const std::string near = Edited(d.text, 0.02, 1), far = Edited(near, 0.02, 2);
    if (ExactJaccard(d.text, near) < 0.8 || ExactJaccard(near, far) < 0.8) continue;
    if (ExactJaccard(d.text, far) >= 0.8) continue;
    ++chains;
    std::vector<Planted> documents = {{d.text, "en", "a"}, {near, "en", "b"}, {far, "en", "c"}};
    const DuplicateSet duplicates = Find(config, documents);
    EXPECT_EQ(duplicates.near(), 2);
    std::sort(documents.begin(), documents.end(), [](const Planted& a, const Planted& b) {
      return DocumentKeyOf(a.text, a.id) < DocumentKeyOf(b.text, b.id);
    });
    EXPECT_EQ(ReasonsOf(duplicates, documents)[0], "");
  }
  EXPECT_GE(chains, 5);
}

TEST(DedupTest, ExactOnlyAndTextsWithoutWords) {
  DedupConfig config;
  config.mode = DedupMode::kExact;
  const std::vector<Planted> documents = {{"...", "en", "a"},
                                          {"?!", "en", "b"},
                                          {"...", "de", "c"},
                                          {"one word", "en", "d"},
                                          {"one\tword ", "en", "e"}};
  EXPECT_EQ(Find(config, documents).exact(), 2);
  const DuplicateSet near = Find(NearConfig(), documents);
  EXPECT_EQ(near.exact(), 2);
  EXPECT_EQ(near.near(), 0);
  EXPECT_EQ(Find(NearConfig(), {}).exact(), 0);
}

TEST(DedupTest, AFolderThatIsNotThere) {
  const auto index = DedupIndex::Make(NearConfig(), "/nowhere/at/all");
  EXPECT_EQ(index.status().code(), absl::StatusCode::kNotFound);
}

// The share of minima that agree estimates J without bias: over many functions its error is that
// of a binomial, below 4 standard deviations.
TEST(MinHashTest, MinimaAgreeWithProbabilityJaccard) {
  constexpr int64_t kFunctions = 4096;
  const MinHasher hasher(kFunctions, 5);
  for (const int shared : {10, 100, 900}) {
    for (const int own : {1, 20, 300}) {
      std::vector<uint32_t> a, b;
      const CounterRandom random(9, StrCat("sets", shared, "-", own));
      for (int i = 0; i < shared + 2 * own; ++i) {
        const auto hash = static_cast<uint32_t>(random.Bits(static_cast<uint64_t>(i)));
        if (i < shared + own) a.push_back(hash);
        if (i < shared || i >= shared + own) b.push_back(hash);
      }
      std::vector<uint32_t> left, right;
      hasher.Minima(a, left);
      hasher.Minima(b, right);
      int64_t equal = 0;
      for (size_t k = 0; k < left.size(); ++k) equal += left[k] == right[k];
      const double jaccard = shared / static_cast<double>(shared + 2 * own);
      const double deviation = std::sqrt(jaccard * (1 - jaccard) / kFunctions);
      EXPECT_NEAR(static_cast<double>(equal) / kFunctions, jaccard, 4 * deviation)
          << shared << " " << own;
    }
  }
}

TEST(MinHashTest, MinimaEqualTheDefinition) {
  const MinHasher one(19, 3), many(112, 3);
  std::vector<uint32_t> short_minima, minima;
  const std::vector<uint32_t> hashes = {17, 4'000'000'000u, 99, 17, 123456789};
  one.Minima(hashes, short_minima);
  many.Minima(hashes, minima);
  ASSERT_EQ(short_minima.size(), 19u);
  // A function does not depend on how many there are, and is the least over single hashes.
  EXPECT_TRUE(std::equal(short_minima.begin(), short_minima.end(), minima.begin()));
  std::vector<uint32_t> least(112, ~uint32_t{0}), single;
  for (const uint32_t hash : hashes) {
    many.Minima({hash}, single);
    for (size_t k = 0; k < least.size(); ++k) least[k] = std::min(least[k], single[k]);
  }
  EXPECT_EQ(minima, least);
}

TEST(MinHashTest, SketchesGiveJaccard) {
  const std::string text = Originals()[0].text, edited = Edited(text, 0.02, 4);
  const auto sketch = [](std::string_view t, size_t size) {
    std::vector<uint32_t> hashes = Shingles(t);
    return BottomSketch(hashes, size);
  };
  const size_t all = 1 << 16;
  EXPECT_DOUBLE_EQ(SketchJaccard(sketch(text, all), sketch(edited, all), all),
                   ExactJaccard(text, edited));
  EXPECT_NEAR(SketchJaccard(sketch(text, 64), sketch(edited, 64), 64), ExactJaccard(text, edited),
              4 * std::sqrt(0.25 / 64));
  EXPECT_EQ(SketchJaccard({}, {}, 64), 0);
  std::vector<uint32_t> repeated(1000, 7);
  for (uint32_t i = 0; i < 30; ++i) repeated.push_back(i);
  std::vector<uint32_t> expected;
  for (uint32_t i = 0; i < 16; ++i) expected.push_back(i);
  EXPECT_EQ(BottomSketch(repeated, 16), expected);
}

TEST(SpillSorterTest, SortsWhatDoesNotFit) {
  for (const int64_t memory : {8 << 10, 1 << 20}) {
    SpillSorter<uint64_t> sorter(testing_data::TempFolder("sorter"), memory);
    std::vector<uint64_t> expected;
    const CounterRandom random(1, "sorter");
    for (uint64_t i = 0; i < 20'000; ++i) {
      expected.push_back(random.Bits(i) % 5000);
      ASSERT_EQ(sorter.Add(expected.back()), absl::OkStatus());
    }
    std::sort(expected.begin(), expected.end());
    ASSERT_EQ(sorter.Sort(), absl::OkStatus());
    EXPECT_EQ(sorter.runs() > 0, memory == 8 << 10);
    uint64_t value = 0;
    for (const uint64_t wanted : expected) {
      ASSERT_TRUE(*sorter.Next(value));
      ASSERT_EQ(value, wanted);
    }
    EXPECT_FALSE(*sorter.Next(value));
  }
}

}  // namespace
}  // namespace choir
