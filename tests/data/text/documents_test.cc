#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <sstream>

#include "data/shard/corpus_index.h"
#include "data/text/list_files.h"
#include "tests/data/test_corpus.h"

namespace choir {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using testing_data::BuildConfigIn;
using testing_data::TempFolder;
using testing_data::WriteText;

std::string Record(const std::string& text, const std::string& id,
                   const std::string& language = "xx", const std::string& group = "") {
  return nlohmann::json{{"text", text},
                        {"language", language},
                        {"source", "s"},
                        {"licence", "MIT"},
                        {"group", group.empty() ? id : group},
                        {"id", id}}
             .dump() +
         "\n";
}

TEST(Documents, ReadsWhatWasWritten) {
  const std::string folder = TempFolder("documents");
  WriteText(folder + "/xx.jsonl", Record(" tab\t\n\u00e9\0x", "1") + Record("", "2"));
  const TextFile file{folder + "/xx.jsonl", Split::kTrain, "xx", 1};
  const auto reader = DocumentReader::Open(file).value();
  TextDocument document;
  ASSERT_TRUE(reader->Next(document).value());
  EXPECT_EQ(document.text, " tab\t\n\u00e9\0x");
  EXPECT_EQ(document.id, "1");
  EXPECT_EQ(document.source, "s");
  ASSERT_TRUE(reader->Next(document).value());
  EXPECT_EQ(document.text, "");
  EXPECT_FALSE(reader->Next(document).value());
}

TEST(Documents, MalformedRecordsAreNamedAndReadingGoesOn) {
  const std::string folder = TempFolder("malformed");
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"{\"text\": \"cut", "not JSON in UTF-8"},
      {"", "not JSON in UTF-8"},
      {"[1]", "not a JSON object"},
      {"{\"text\": 3}", "\"text\" must be text"},
      {R"({"language":"xx","id":"i"})", "\"text\" is missing"},
      {R"({"text":"a"} trailing)", "not JSON in UTF-8"},
      {R"({"text":"a","x":tru})", "not JSON in UTF-8"},
      {R"({"text":"a","language":"yy","source":"s","group":"g","id":"i"})",
       "language 'yy' in a file of 'xx'"},
      {"{\"text\":\"a\",\"language\":\"xx\",\"source\":\"s\",\"group\":\"g\",\"id\":\"\xff\"}",
       "a field is not UTF-8"},
      {"{\"text\":\"a\xff", "not JSON in UTF-8"},
      {R"({"text":"\ud800","language":"xx","source":"s","group":"g","id":"i"})", "UTF-8"}};
  std::string text;
  for (const auto& [line, why] : bad) text += line + "\n";
  const std::string path = folder + "/xx.jsonl";
  WriteText(path, text + Record("good", "1"));
  const auto reader = DocumentReader::Open({path, Split::kTrain, "xx", 1}).value();
  TextDocument document;
  for (size_t i = 0; i < bad.size(); ++i) {
    const auto result = reader->Next(document);
    ASSERT_TRUE(absl::IsInvalidArgument(result.status())) << bad[i].first;
    EXPECT_THAT(std::string(result.status().message()),
                ::testing::StartsWith(path + ":" + std::to_string(i + 1) + ": "));
    EXPECT_THAT(std::string(result.status().message()), HasSubstr(bad[i].second));
  }
  ASSERT_TRUE(reader->Next(document).value());
  EXPECT_EQ(document.text, "good");
}

TEST(Documents, BytesThatAreNotUtf8AreLeftToTheCleaner) {
  const std::string path = TempFolder("not-utf8") + "/xx.jsonl";
  WriteText(path, "{\"text\":\"caf\xe9 \xe2\x82 \\u00e9\",\"id\":\"1\"}\n");
  const auto reader = DocumentReader::Open({path, Split::kTrain, "xx", 1}).value();
  TextDocument document;
  ASSERT_TRUE(reader->Next(document).value());
  EXPECT_EQ(document.text, "caf\xff \xff\xff \u00e9");
}

TEST(Documents, MissingFilesAndLanguages) {
  CorpusConfig config;
  config.path = TempFolder("none") + "/nothing";
  EXPECT_THAT(std::string(ListTextFiles(config).status().message()), HasSubstr("nothing/train"));
  config.path = TempFolder("half");
  std::filesystem::create_directories(config.path + "/train");
  EXPECT_TRUE(absl::IsNotFound(ListTextFiles(config).status()));
  WriteText(config.path + "/train/aa.jsonl", Record("a", "1", "aa"));
  EXPECT_THAT(std::string(ListTextFiles(config).status().message()), HasSubstr("heldout/aa.jsonl"));
  WriteText(config.path + "/heldout/aa.jsonl", Record("a", "2", "aa"));
  EXPECT_EQ(ListTextFiles(config).value().size(), 2u);
  config.languages = {"aa", "bb"};
  EXPECT_THAT(std::string(ListTextFiles(config).status().message()), HasSubstr("train/bb.jsonl"));
}

TEST(Documents, SampleIsNestedAndOfItsSize) {
  TextDocument document;
  int64_t small = 0, large = 0;
  const DocumentSample few(1000, 10000, 3), more(4000, 10000, 3), all(10000, 10000, 3);
  for (int i = 0; i < 10000; ++i) {
    document.id = std::to_string(i);
    small += few.Contains(document);
    large += more.Contains(document);
    EXPECT_TRUE(all.Contains(document));
    EXPECT_LE(few.Contains(document), more.Contains(document));
  }
  // Binomial: 6 standard deviations.
  EXPECT_NEAR(small, 1000, 180);
  EXPECT_NEAR(large, 4000, 294);
}

// One language, with one document of every fate.
TEST(Documents, BuildCountsInKeptAndDropped) {
  const std::string folder = TempFolder("fates");
  DataBuildConfig config = BuildConfigIn(folder);
  std::ostringstream out;
  ASSERT_EQ(BuildTokenizer(config, out), absl::OkStatus());
  config.corpus.path = folder + "/odd";
  config.corpus.max_malformed = 0;
  WriteText(config.corpus.path + "/heldout/xx.jsonl",
            Record("held out", "h1", "xx", "shared") + Record("other", "h2"));
  WriteText(config.corpus.path + "/train/xx.jsonl",
            Record("a sibling of h1", "t1", "xx", "shared") + Record("kept text", "t2") +
                "broken\n" + Record("", "t3") + Record("again", "t2"));
  EXPECT_THAT(std::string(BuildShards(config, out).message()),
              HasSubstr("train/xx.jsonl:3: not JSON in UTF-8\n(malformed record number 1; "
                        "corpus.max_malformed allows 0)"));
  EXPECT_FALSE(std::filesystem::exists(config.shards.path + "/corpus.json"));
  config.corpus.max_malformed = 1;
  ASSERT_EQ(BuildShards(config, out), absl::OkStatus());
  const CorpusIndex index = ReadCorpusIndex(config.shards.path).value();
  const LanguageReport& train = index.report[0].at(0);
  EXPECT_EQ(train.documents_in, 5);
  EXPECT_EQ(train.documents, 1);
  EXPECT_EQ(train.bytes, 9);
  EXPECT_EQ(train.dropped_documents,
            (std::map<std::string, int64_t>{
                {"group is held out", 1}, {"malformed", 1}, {"empty", 1}, {"id seen before", 1}}));
  EXPECT_EQ(train.dropped_bytes,
            (std::map<std::string, int64_t>{
                {"group is held out", 15}, {"malformed", 6}, {"empty", 0}, {"id seen before", 5}}));
  EXPECT_EQ(train.bytes_in, 9 + 15 + 6 + 5);
  EXPECT_EQ(index.report[1].at(0).documents, 2);
  EXPECT_THAT(out.str(), HasSubstr("1 empty, 1 group is held out, 1 id seen before, 1 malformed"));
}

}  // namespace
}  // namespace choir
