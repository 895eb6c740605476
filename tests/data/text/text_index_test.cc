#include "data/text/text_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/status.h"
#include "base/strings.h"
#include "tests/data/test_corpus.h"
#include "tests/data/text/packed_files.h"

namespace choir {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_data::TempFolder;
using testing_data::WriteText;

std::string Line(const std::string& text, const std::string& language, const std::string& id) {
  return nlohmann::json{{"text", text}, {"language", language}, {"id", id}, {"source", "s-" + id}}
             .dump() +
         "\n";
}

// Three files in two languages: plain, gzip and zstd.
CorpusConfig ThreeFiles(const std::string& folder) {
  WriteText(folder + "/a.jsonl", Line("eins", "de", "1") + Line("one", "en", "2") + "broken\n" +
                                     Line("zwei", "de", "3"));
  WriteText(folder + "/b.jsonl.gz", testing_data::Gzip(Line("two", "en", "4")));
  WriteText(folder + "/c.jsonl.zst", testing_data::Zstd(Line("drei\n", "de", "5")));
  CorpusConfig config;
  config.inputs.push_back({{folder + "/*.jsonl*"}});
  return config;
}

std::vector<std::string> IdsOf(const TextIndex& index, int32_t language) {
  std::vector<std::string> ids;
  TextDocument document;
  for (int64_t i = 0; i < index.NumDocuments(Split::kTrain, language); ++i) {
    EXPECT_EQ(index.Read(Split::kTrain, language, i, document), absl::OkStatus());
    EXPECT_EQ(document.language, index.languages()[language]);
    EXPECT_EQ(static_cast<int64_t>(document.text.size()),
              index.TextBytes(Split::kTrain, language, i));
    ids.push_back(document.id);
  }
  return ids;
}

TEST(TextIndex, ReadsEveryDocumentOfTheFixture) {
  CorpusConfig config;
  config.path = testing_data::FixtureCorpus();
  const auto index = TextIndex::Open(config, TempFolder("index-fixture")).value();
  EXPECT_EQ(index->num_malformed(), 0);
  for (const Split split : kAllSplits) {
    std::map<std::string, std::vector<nlohmann::json>> records;
    for (nlohmann::json& record : testing_data::FixtureRecords(SplitName(split))) {
      records[record.at("language")].push_back(record);
    }
    ASSERT_EQ(records.size(), index->languages().size());
    for (int32_t l = 0; l < static_cast<int32_t>(index->languages().size()); ++l) {
      const auto& expected = records[index->languages()[l]];
      ASSERT_EQ(index->NumDocuments(split, l), static_cast<int64_t>(expected.size()));
      int64_t bytes = 0;
      TextDocument document;
      for (int64_t i = 0; i < index->NumDocuments(split, l); ++i) {
        ASSERT_EQ(index->Read(split, l, i, document), absl::OkStatus());
        EXPECT_EQ(document.text, expected[i].at("text"));
        EXPECT_EQ(document.id, expected[i].at("id"));
        EXPECT_EQ(document.group, expected[i].at("group"));
        bytes += static_cast<int64_t>(document.text.size());
      }
      EXPECT_EQ(index->NumBytes(split, l), bytes);
    }
  }
}

TEST(TextIndex, PackedFilesMixedLanguagesAndMalformedRecords) {
  const std::string folder = TempFolder("index-packed");
  const auto index = TextIndex::Open(ThreeFiles(folder), folder + "/cache").value();
  EXPECT_THAT(index->languages(), ElementsAre("de", "en"));
  EXPECT_THAT(IdsOf(*index, 0), ::testing::UnorderedElementsAre("1", "3", "5"));
  EXPECT_THAT(IdsOf(*index, 1), ::testing::UnorderedElementsAre("2", "4"));
  EXPECT_THAT(index->malformed(), ElementsAre(folder + "/a.jsonl:3: not JSON in UTF-8"));
  EXPECT_EQ(index->sources().size(), 5u);
  // Only what is asked for.
  CorpusConfig config = ThreeFiles(folder);
  config.languages = {"en"};
  EXPECT_THAT(TextIndex::Open(config, folder + "/cache").value()->languages(), ElementsAre("en"));
  config.max_malformed = 0;
  EXPECT_THAT(std::string(TextIndex::Open(config, folder + "/cache").status().message()),
              HasSubstr("corpus.max_malformed allows 0"));
}

TEST(TextIndex, NamesAndOrderOfFilesDoNotMatter) {
  const std::string folder = TempFolder("index-order");
  const auto index = TextIndex::Open(ThreeFiles(folder), folder + "/cache").value();
  const std::string other = folder + "/other";
  std::filesystem::create_directories(other);
  std::filesystem::copy(folder + "/a.jsonl", other + "/z.jsonl");
  std::filesystem::copy(folder + "/b.jsonl.gz", other + "/k.jsonl.gz");
  std::filesystem::copy(folder + "/c.jsonl.zst", other + "/b.jsonl.zst");
  CorpusConfig config;
  config.inputs.push_back({{other + "/k*", other + "/z*", other + "/b*"}});
  const auto renamed = TextIndex::Open(config, folder + "/cache2").value();
  EXPECT_EQ(index->fingerprint(), renamed->fingerprint());
  for (int32_t l : {0, 1}) EXPECT_EQ(IdsOf(*index, l), IdsOf(*renamed, l));
}

TEST(TextIndex, TheCacheIsUsedAndChecked) {
  const std::string folder = TempFolder("index-cache");
  const std::string cache = folder + "/cache";
  auto first = TextIndex::Open(ThreeFiles(folder), cache).value();
  const std::vector<std::string> ids = IdsOf(*first, 0);
  const std::string fingerprint = first->fingerprint();
  first.reset();
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(cache)) files.push_back(entry);
  EXPECT_EQ(files.size(), 5u) << "three indices, two unpacked files, nothing left over";
  // Used, and made again where it is damaged.
  std::map<std::filesystem::path, std::filesystem::file_time_type> times;
  CorpusConfig config;
  config.inputs.push_back({{folder + "/*.jsonl*"}});
  for (const auto& path : files) times[path] = std::filesystem::last_write_time(path);
  ASSERT_EQ(TextIndex::Open(config, cache).status(), absl::OkStatus());
  for (const auto& path : files) EXPECT_EQ(times[path], std::filesystem::last_write_time(path));
  for (const auto& path : files) WriteText(path.string(), "junk");
  const auto again = TextIndex::Open(config, cache).value();
  EXPECT_EQ(again->fingerprint(), fingerprint);
  EXPECT_EQ(IdsOf(*again, 0), ids);
  // A file that changes is scanned anew; an index opened before says so.
  WriteText(folder + "/a.jsonl", Line("vier und mehr", "de", "9"));
  TextDocument document;
  int refused = 0;
  for (int64_t i = 0; i < 3; ++i) {
    const absl::Status status = again->Read(Split::kTrain, 0, i, document);
    refused += absl::IsDataLoss(status);
    if (!status.ok()) {
      EXPECT_THAT(std::string(status.message()), HasSubstr("a.jsonl:"));
    }
  }
  EXPECT_EQ(refused, 2);
  const auto fresh = TextIndex::Open(config, cache).value();
  EXPECT_NE(fresh->fingerprint(), fingerprint);
  EXPECT_THAT(IdsOf(*fresh, 0), ::testing::UnorderedElementsAre("9", "5"));
}

TEST(TextIndex, ThreadsReadAtTheSameTime) {
  CorpusConfig config;
  config.path = testing_data::FixtureCorpus();
  const auto index = TextIndex::Open(config, TempFolder("index-threads")).value();
  std::vector<std::string> expected = IdsOf(*index, 3);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int round = 0; round < 5; ++round) EXPECT_EQ(IdsOf(*index, 3), expected);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(TextIndex, RefusesWhatItCannotRead) {
  const std::string folder = TempFolder("index-refused");
  WriteText(folder + "/t.txt", "text");
  CorpusConfig config;
  config.inputs.push_back({{folder + "/t.txt"}});
  config.inputs[0].language = "en";
  EXPECT_THAT(std::string(TextIndex::Open(config, folder + "/cache").status().message()),
              HasSubstr("`choir data build`"));
  WriteText(folder + "/cut.jsonl.gz", testing_data::Gzip(Line("text", "en", "1")).substr(0, 30));
  config.inputs[0].paths = {folder + "/cut.jsonl.gz"};
  EXPECT_TRUE(absl::IsDataLoss(TextIndex::Open(config, folder + "/cache").status()));
  for (const auto& entry : std::filesystem::directory_iterator(folder + "/cache")) {
    ADD_FAILURE() << entry.path() << " is left over";
  }
  WriteText(folder + "/bad.jsonl", "junk\n");
  config.inputs[0].paths = {folder + "/bad.jsonl"};
  EXPECT_THAT(std::string(TextIndex::Open(config, folder + "/cache").status().message()),
              HasSubstr("bad.jsonl:1: not JSON"));
}

}  // namespace
}  // namespace choir
