// Training straight from raw text: the same exactness as from shards.
#include "data/loader/text_corpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/random.h"
#include "data/loader/loader.h"
#include "tests/data/loader/open_loader.h"
#include "tests/data/test_corpus.h"

namespace choir {
namespace {

using ::testing::HasSubstr;
using testing_data::OpenLoader;

constexpr const char* kNoCleaning = "clean: {controls: false, nfc: false, spaces: keep}\n";

// The fixture's text with its small tokenizer.
std::string WriteBuildConfig(const std::string& folder, const std::string& more = "") {
  const std::string path = folder + "/build.yaml";
  testing_data::WriteText(path, "corpus:\n  path: " + testing_data::FixtureCorpus() +
                                    "\ntokenizer:\n  model: " + testing_data::FixtureFolder() +
                                    "/shards/tokenizer.model\nshards:\n  path: " + folder +
                                    "/unused\n" + more);
  return path;
}

DataConfig TextConfig(const std::string& folder, const std::string& more = "") {
  DataConfig config = testing_data::FixtureDataConfig();
  config.path.clear();
  config.text.build = WriteBuildConfig(folder, more);
  config.text.cache = folder + "/index";
  return config;
}

TEST(TextCorpus, DocumentsAreTheTextOfTheFiles) {
  const DataConfig config = TextConfig(testing_data::TempFolder("text_documents"), kNoCleaning);
  const auto corpus = OpenCorpus(config).value();
  const auto tokenizer = corpus->OpenItsTokenizer().value();
  std::map<uint64_t, std::string> texts;
  std::set<uint64_t> heldout_groups;
  for (const auto& record : testing_data::FixtureRecords("heldout")) {
    heldout_groups.insert(HashOf64(record["group"].get<std::string>()));
  }
  for (const auto& record : testing_data::FixtureRecords("train")) {
    texts[HashOf64(record["id"].get<std::string>())] = record["text"].get<std::string>();
  }
  size_t seen = 0;
  const auto streams = corpus->Streams(Split::kTrain, false).value();
  for (const DocumentStream& stream : streams) {
    for (int64_t i = 0; i < stream.documents; ++i) {
      const TokenDocument document = corpus->Read(Split::kTrain, stream, i).value();
      const DocumentHead head = corpus->Head(Split::kTrain, stream, i).value();
      ASSERT_EQ(head.length, document.length);
      ASSERT_EQ(head.id, document.id);
      ++seen;
      if (document.length == 0) {
        ASSERT_TRUE(heldout_groups.contains(document.group) || texts[document.id].empty());
        continue;
      }
      std::vector<int32_t> ids;
      for (int64_t t = 1; t + 1 < document.length; ++t) ids.push_back(document.token(t));
      ASSERT_EQ(tokenizer->Decode(ids), texts[document.id]);
      ASSERT_EQ(document.token(0), corpus->tokenizer().bos_id);
      ASSERT_EQ(document.token(document.length - 1), corpus->tokenizer().eos_id);
    }
  }
  EXPECT_EQ(seen, texts.size());
}

// Interrupted and continued by other numbers of ranks and threads, with a cache that holds next to
// nothing, a change of shares and the ends of epochs in the range.
TEST(TextCorpus, AnyRanksConsumeTheSameBatches) {
  constexpr int64_t kSteps = 500;
  const std::string folder = testing_data::TempFolder("text_ranks");
  DataConfig config = TextConfig(folder, "clean:\n  nfc: true\n");
  config.batch_sequences = 8;
  config.mixture.weights = {{"de", 1}, {"en", 1}, {"ja", 1}};
  auto whole = OpenLoader(config);
  const CounterRandom random(9, "text ranks");
  uint64_t draw = 0;
  for (int64_t step = 0; step < kSteps;) {
    const std::string state = whole->SaveState();
    if (step > 200) config.mixture.weights["de"] = 3;
    whole = OpenLoader(config);
    ASSERT_EQ(whole->RestoreState(state), absl::OkStatus());
    const int64_t ranks = int64_t{1} << random.Below(draw++, 4);
    const auto until = std::min(kSteps, step + 1 + static_cast<int64_t>(random.Below(draw++, 99)));
    std::vector<std::unique_ptr<BatchLoader>> loaders;
    for (int64_t rank = 0; rank < ranks; ++rank) {
      DataConfig own = config;
      own.prefetch_rows = static_cast<int64_t>(random.Below(draw++, 40));
      own.threads = 1 + static_cast<int64_t>(random.Below(draw++, 3));
      loaders.push_back(OpenLoader(own));
      ASSERT_EQ(loaders.back()->RestoreState(state), absl::OkStatus());
      loaders.back()->SetRows([=](int64_t) {
        return StepRows{8, [=](int64_t row) { return row % ranks == rank; }};
      });
    }
    for (; step < until; ++step) {
      const Batch want = whole->Next().value();
      std::vector<int32_t> tokens(static_cast<size_t>(want.tokens.NumElements()), -1);
      for (const auto& loader : loaders) {
        const Batch part = loader->Next().value();
        ASSERT_EQ(part.digest, want.digest);
        for (size_t i = 0; i < part.stored.size(); ++i) {
          std::copy_n(part.tokens.data<int32_t>() + static_cast<int64_t>(i) * part.length,
                      part.length, tokens.begin() + part.stored[i] * part.length);
        }
      }
      const auto wanted = want.tokens.span<const int32_t>();
      ASSERT_TRUE(std::equal(tokens.begin(), tokens.end(), wanted.begin(), wanted.end())) << step;
    }
    ASSERT_EQ(loaders.back()->SaveState(), whole->SaveState());
  }
  const std::vector<double> epochs = whole->Epochs();
  EXPECT_GT(*std::max_element(epochs.begin(), epochs.end()), 2);
  EXPECT_EQ(whole->ledger().size(), 2u);
}

TEST(TextCorpus, WhatCleaningDropsIsPassedOver) {
  const std::string folder = testing_data::TempFolder("text_clean");
  const DataConfig all = TextConfig(testing_data::TempFolder("text_all"));
  const auto before = OpenCorpus(all).value();
  DataConfig config = TextConfig(folder, "clean:\n  filters:\n    min_characters: 300\n");
  const auto corpus = OpenCorpus(config).value();
  EXPECT_NE(corpus->fingerprint(), before->fingerprint());
  std::set<uint64_t> dropped;
  const auto streams = corpus->Streams(Split::kTrain, false).value();
  for (const DocumentStream& stream : streams) {
    for (int64_t i = 0; i < stream.documents; ++i) {
      const DocumentHead head = corpus->Head(Split::kTrain, stream, i).value();
      if (head.length == 0) dropped.insert(head.id);
    }
  }
  EXPECT_GT(dropped.size(), 10u);
  const auto loader = OpenLoader(config);
  for (int step = 0; step < 200; ++step) {
    const Batch batch = loader->Next().value();
    for (const BatchSegment& s : batch.segments) ASSERT_FALSE(dropped.contains(s.document_id));
  }
  // A state of other cleaning is of another corpus.
  EXPECT_THAT(std::string(OpenLoader(all)->RestoreState(loader->SaveState()).message()),
              HasSubstr("corpus"));
}

TEST(TextCorpus, WhatNeedsTheWholeCorpusIsRefused) {
  const std::string folder = testing_data::TempFolder("text_refused");
  DataConfig config = TextConfig(folder, "clean:\n  dedup:\n    mode: near\n");
  EXPECT_THAT(std::string(OpenCorpus(config).status().message()),
              HasSubstr("clean.dedup needs the whole corpus"));
  config = TextConfig(folder);
  config.mixture.by_source = true;
  EXPECT_THAT(std::string(BatchLoader::Open(config).status().message()),
              HasSubstr("by_source needs shards"));
}

TEST(TextCorpus, PathAndTextExcludeEachOther) {
  const auto check = [](const std::string& text) {
    const auto tree = ConfigTree::ParseString(text, "data.yaml");
    return std::string(LoadConfig<DataConfig>(*tree).status().message());
  };
  const std::string folder = testing_data::TempFolder("text_or_path");
  const std::string build = WriteBuildConfig(folder);
  EXPECT_THAT(check("seed: 1\n"), HasSubstr("path or text.build must be given"));
  EXPECT_THAT(check("path: " + folder + "\ntext: {build: " + build + ", cache: x}\n"),
              HasSubstr("are both given"));
  EXPECT_THAT(check("text: {build: " + build + "}\n"), HasSubstr("text.cache must be given"));
}

}  // namespace
}  // namespace choir
