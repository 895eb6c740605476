#include "data/text/list_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/status.h"
#include "base/strings.h"
#include "tests/data/test_corpus.h"
#include "tests/data/text/packed_files.h"

namespace choir {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_data::TempFolder;
using testing_data::WriteText;

CorpusConfig Inputs(std::vector<std::string> paths) {
  CorpusConfig config;
  config.inputs.push_back({std::move(paths)});
  return config;
}

std::vector<std::string> PathsOf(const CorpusConfig& config) {
  std::vector<std::string> paths;
  const std::vector<TextFile> files = ListTextFiles(config).value();
  for (const TextFile& file : files) paths.push_back(file.path);
  return paths;
}

std::string ErrorOf(const CorpusConfig& config) {
  return std::string(ListTextFiles(config).status().message());
}

TEST(ListFiles, PatternsListsAndFormats) {
  const std::string f = TempFolder("list");
  for (const char* name : {"b.jsonl", "a.jsonl.gz", "c.ndjson.zst", "d.txt", "odd"}) {
    WriteText(StrCat(f, "/", name), "x");
  }
  WriteText(f + "/list", "# comment\n\n " + f + "/b.jsonl \n" + f + "/c*\n");
  EXPECT_THAT(PathsOf(Inputs({f + "/*.jsonl*"})), ElementsAre(f + "/a.jsonl.gz", f + "/b.jsonl"));
  EXPECT_THAT(PathsOf(Inputs({f + "/{b,a}.jsonl*"})),
              ElementsAre(f + "/a.jsonl.gz", f + "/b.jsonl"));
  EXPECT_THAT(PathsOf(Inputs({"@" + f + "/list"})),
              ElementsAre(f + "/b.jsonl", f + "/c.ndjson.zst"));
  CorpusConfig text = Inputs({f + "/d.txt"});
  EXPECT_THAT(ErrorOf(text), HasSubstr("set corpus.inputs[0].language"));
  text.inputs[0].language = "de";
  EXPECT_EQ(ListTextFiles(text).value().at(0).format, TextFormat::kText);
  EXPECT_THAT(ErrorOf(Inputs({f + "/odd"})), HasSubstr("set corpus.inputs[0].format"));
  WriteText(f + "/p.parquet", "PAR1");
  EXPECT_THAT(ErrorOf(Inputs({f + "/p.parquet"})), HasSubstr("write its texts as JSON lines"));
  WriteText(f + "/s.h5", "x");
  EXPECT_EQ(ListTextFiles(Inputs({f + "/s.h5"})).value().at(0).format, TextFormat::kShards);
  CorpusConfig decoded = Inputs({f + "/b.jsonl"});
  decoded.inputs[0].tokenizer = f + "/odd";
  EXPECT_THAT(ErrorOf(decoded), HasSubstr("corpus.inputs[0].tokenizer: decodes token shards"));
  decoded.inputs[0].paths.push_back(f + "/s.h5");
  EXPECT_EQ(ListTextFiles(decoded).value().at(1).tokenizer, f + "/odd");
  EXPECT_THAT(ErrorOf(Inputs({f + "/none*"})), HasSubstr("none*: no such file"));
  EXPECT_THAT(ErrorOf(Inputs({f})), HasSubstr("is a folder"));
  EXPECT_THAT(ErrorOf(Inputs({f + "/b.jsonl", f + "/./b.jsonl"})), HasSubstr("named twice"));
  WriteText(f + "/bad-list", "\n" + f + "/nothing\n");
  EXPECT_THAT(ErrorOf(Inputs({"@" + f + "/bad-list"})), HasSubstr("bad-list:2"));
}

TEST(ListFiles, FoldersMayBePacked) {
  const std::string f = TempFolder("folders");
  WriteText(f + "/train/aa.jsonl.gz", "x");
  WriteText(f + "/heldout/aa.jsonl.zst", "x");
  CorpusConfig config;
  config.path = f;
  EXPECT_THAT(PathsOf(config), ElementsAre(f + "/train/aa.jsonl.gz", f + "/heldout/aa.jsonl.zst"));
  WriteText(f + "/train/aa.jsonl", "x");
  EXPECT_THAT(ErrorOf(config), HasSubstr("keep one of them"));
}

TEST(ListFiles, FollowsUntilNothingChanges) {
  const std::string f = TempFolder("follow");
  CorpusConfig config = Inputs({f + "/*.jsonl*"});
  config.follow = 0.4;
  // One after another: a file, one that grows, one under a temporary name that becomes final.
  std::thread writer([&] {
    const auto pause = [] { std::this_thread::sleep_for(std::chrono::milliseconds(150)); };
    pause();
    WriteText(f + "/a.jsonl", "1\n");
    pause();
    WriteText(f + "/b.jsonl", "1\n");
    WriteText(f + "/c.jsonl.part", "1\n");
    for (int i = 0; i < 5; ++i) {
      pause();
      std::ofstream(f + "/b.jsonl", std::ios::app) << "more\n";
    }
    pause();
    fs::rename(f + "/c.jsonl.part", f + "/c.jsonl");
  });
  const auto files = FollowTextFiles(config, true);
  writer.join();
  ASSERT_TRUE(files.ok()) << files.status();
  ASSERT_EQ(files->size(), 3u);
  EXPECT_EQ((*files)[1].bytes, 2 + 5 * 5);
  EXPECT_EQ((*files)[2].path, f + "/c.jsonl");
  // What never comes is not waited for without end.
  EXPECT_THAT(std::string(FollowTextFiles(Inputs({f + "/z*"}), true).status().message()),
              HasSubstr("no such file"));
}

std::vector<TextDocument> ReadText(const std::string& path, TextUnit unit) {
  TextFile file{path, Split::kTrain, "en", 1, TextFormat::kText};
  file.unit = unit;
  const auto reader = DocumentReader::Open(file).value();
  std::vector<TextDocument> documents;
  TextDocument document;
  while (reader->Next(document).value()) documents.push_back(document);
  return documents;
}

TEST(PlainText, FilesParagraphsAndPages) {
  const std::string f = TempFolder("plain");
  const std::string text = "one\ntwo\n \t\n\nthree\fthree\n\n\ffour\n\n";
  WriteText(f + "/t.txt", text);
  const auto texts = [&](TextUnit unit) {
    std::vector<std::string> result;
    for (const TextDocument& d : ReadText(f + "/t.txt", unit)) result.push_back(d.text);
    return result;
  };
  EXPECT_THAT(texts(TextUnit::kFile), ElementsAre(text));
  EXPECT_THAT(texts(TextUnit::kParagraph), ElementsAre("one\ntwo\n", "three\fthree\n", "\ffour\n"));
  EXPECT_THAT(texts(TextUnit::kPage),
              ElementsAre("one\ntwo\n \t\n\nthree", "three\n\n", "four\n\n"));
  WriteText(f + "/u.txt.gz", testing_data::Gzip("no feed at the end"));
  const TextDocument document = ReadText(f + "/u.txt.gz", TextUnit::kFile).at(0);
  EXPECT_EQ(document.text, "no feed at the end");
  EXPECT_EQ(document.source, "u");
  EXPECT_EQ(document.language, "en");
  EXPECT_EQ(document.id, f + "/u.txt.gz:1");
  EXPECT_EQ(ReadText(f + "/t.txt", TextUnit::kParagraph)[1].id, f + "/t.txt:5");
  WriteText(f + "/empty.txt", " \n\n");
  EXPECT_TRUE(ReadText(f + "/empty.txt", TextUnit::kFile).empty());
}

TEST(JsonLines, OtherFieldsAndDefaults) {
  const std::string f = TempFolder("fields");
  WriteText(f + "/web.jsonl", R"({"content":"a","lang":"de","url":"u1","id":null})"
                              "\n"
                              R"({"content":"b"})"
                              "\n");
  CorpusConfig config = Inputs({f + "/web.jsonl"});
  config.inputs[0].fields = {"content", "lang", "", "url", "id"};
  const TextFile file = ListTextFiles(config).value().at(0);
  const auto reader = DocumentReader::Open(file).value();
  TextDocument document;
  ASSERT_TRUE(reader->Next(document).value());
  EXPECT_EQ(document.text, "a");
  EXPECT_EQ(document.language, "de");
  EXPECT_EQ(document.group, "u1");
  EXPECT_EQ(document.source, "web");
  EXPECT_EQ(document.id, f + "/web.jsonl:1");
  EXPECT_THAT(std::string(reader->Next(document).status().message()),
              HasSubstr("web.jsonl:2: \"lang\" is missing, and its input names none"));
  // A block behind others counts its lines on.
  const auto block = DocumentReader::Open(file, {0, 49, 41}).value();
  ASSERT_TRUE(block->Next(document).value());
  EXPECT_EQ(block->line(), 42);
}

}  // namespace
}  // namespace choir
