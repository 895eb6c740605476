// The pipeline of `choir data build` as a whole: what it promises about its shards and its report.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "base/file.h"
#include "base/random.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/build/build_plan.h"
#include "data/build/build_report.h"
#include "data/shard/token_corpus.h"
#include "data/text/list_files.h"
#include "tests/data/test_corpus.h"
#include "tests/data/text/packed_files.h"

namespace choir {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing_data::BuildConfigIn;
using testing_data::FixtureFolder;
using testing_data::TempFolder;
using testing_data::WriteText;

std::string Line(const std::string& text, const std::string& language, const std::string& id) {
  return nlohmann::json{{"text", text},
                        {"language", language},
                        {"id", id},
                        {"group", id[0] == 'g' ? id : "of " + id},
                        {"source", "s" + id.substr(0, 1)}}
             .dump() +
         "\n";
}

// Documents in three languages, some malformed, empty or repeated, over `files` files.
void WriteCorpus(const std::string& folder, int files, int documents) {
  const CounterRandom random(3, "corpus");
  const char* const languages[] = {"aa", "bb", "cc"};
  for (int f = 0; f < files; ++f) {
    std::string text;
    for (int d = 0; d < documents; ++d) {
      const auto n = static_cast<uint64_t>(f * documents + d);
      std::string words;
      for (uint64_t w = 0; w < 3 + random.Below(n, 30); ++w)
        words += StrCat("wört", n * 7 + w, " ");
      const uint64_t m = n % 50 == 7 ? n - 7 : n;  // some repeat others
      const std::string id = StrCat(m % 10, "-", m);
      text += n % 31 == 3 ? "{broken\n" : Line(n % 41 == 5 ? "" : words, languages[n % 3], id);
    }
    const std::string path = StrCat(folder, "/part-", f, ".jsonl");
    if (f % 3 == 1) {
      WriteText(path + ".gz", testing_data::Gzip(text));
    } else if (f % 3 == 2) {
      WriteText(path + ".zst", testing_data::Zstd(text));
    } else {
      WriteText(path, text);
    }
  }
  WriteText(folder + "/held.jsonl",
            Line("zurückgehalten", "bb", "h1") + Line("noch eins", "aa", "h2"));
}

DataBuildConfig ConfigOf(const std::string& corpus, const std::string& folder) {
  DataBuildConfig config = BuildConfigIn(folder);
  config.corpus.path.clear();
  config.corpus.inputs.push_back({{corpus + "/part-*"}});
  config.corpus.inputs.push_back({{corpus + "/held.jsonl"}});
  config.corpus.inputs[1].split = Split::kHeldout;
  config.tokenizer.model = FixtureFolder() + "/shards/tokenizer.model";
  config.shards.max_tokens_per_shard = 20'000;
  return config;
}

std::string Built(const DataBuildConfig& config) {
  std::ostringstream out;
  EXPECT_EQ(BuildShards(config, out), absl::OkStatus()) << out.str();
  return out.str();
}

CorpusIndex IndexOf(const DataBuildConfig& config) {
  return ReadCorpusIndex(config.shards.path).value();
}

nlohmann::json ReportOf(const DataBuildConfig& config) {
  const std::string folder = fs::path(IndexOf(config).tokenizer.file).parent_path();
  return nlohmann::json::parse(
      ReadFile(StrCat(config.shards.path, "/", folder, "/report.json")).value());
}

// Bytes of all shards, by name inside their folder.
std::map<std::string, std::string> ShardBytes(const DataBuildConfig& config) {
  std::map<std::string, std::string> bytes;
  for (const ShardInfo& shard : IndexOf(config).shards) {
    bytes[fs::path(shard.file).filename()] =
        ReadFile(StrCat(config.shards.path, "/", shard.file)).value();
  }
  return bytes;
}

TEST(Build, ReportAddsUp) {
  const std::string folder = TempFolder("adds-up");
  WriteCorpus(folder + "/c", 5, 400);
  const DataBuildConfig config = ConfigOf(folder + "/c", folder);
  const std::string printed = Built(config);
  EXPECT_THAT(printed, HasSubstr("tokenize"));
  EXPECT_THAT(printed, HasSubstr("MB/s by core"));
  const nlohmann::json report = ReportOf(config);
  const auto corpus = TokenCorpus::Open(config.shards.path).value();
  int64_t in = 0, malformed = 0, kept = 0, tokens = 0, empty = 0, repeated = 0;
  for (const auto& source : report.at("sources")) {
    int64_t documents = source.at("documents"), bytes = source.at("bytes");
    for (const auto& [reason, count] : source.at("dropped_documents").items()) {
      documents += count.get<int64_t>();
      malformed += reason == "malformed" ? count.get<int64_t>() : 0;
      empty += reason == "empty" ? count.get<int64_t>() : 0;
      repeated += reason == "id seen before" ? count.get<int64_t>() : 0;
    }
    for (const auto& [reason, count] : source.at("dropped_bytes").items()) {
      bytes += count.get<int64_t>();
    }
    EXPECT_EQ(source.at("documents_in"), documents);
    EXPECT_EQ(source.at("bytes_in"), bytes);
    in += source.at("documents_in").get<int64_t>();
    kept += source.at("documents").get<int64_t>();
    tokens += source.at("tokens").get<int64_t>();
  }
  EXPECT_EQ(in, 5 * 400 + 2);
  EXPECT_EQ(malformed, 65);
  EXPECT_EQ(report.at("num_malformed"), 65);
  EXPECT_EQ(report.at("malformed").size(), 5u * 5u) << "the first five of each file";
  EXPECT_THAT(report.at("malformed").at(0).get<std::string>(), HasSubstr("/part-"));
  EXPECT_GT(empty, 40);
  EXPECT_GT(repeated, 20);
  int64_t in_shards = 0, tokens_in_shards = 0, in_histograms = 0;
  for (const ShardInfo& shard : corpus->index().shards) {
    in_shards += shard.documents;
    tokens_in_shards += shard.tokens - 2 * shard.documents;
  }
  EXPECT_EQ(kept, in_shards);
  EXPECT_EQ(tokens, tokens_in_shards);
  for (const auto& [language, histograms] : report.at("histograms").items()) {
    for (const auto& count : histograms.at("tokens")) in_histograms += count.get<int64_t>();
  }
  EXPECT_EQ(in_histograms, kept);
}

TEST(Build, ShardsDoNotDependOnThreadsNamesOrOrderOfFiles) {
  const std::string folder = TempFolder("order");
  WriteCorpus(folder + "/c", 7, 150);
  DataBuildConfig one = ConfigOf(folder + "/c", folder + "/one");
  one.shards.threads = 1;
  Built(one);
  const auto bytes = ShardBytes(one);
  ASSERT_GT(bytes.size(), 2u);
  DataBuildConfig many = ConfigOf(folder + "/c", folder + "/many");
  many.shards.threads = 5;
  Built(many);
  EXPECT_EQ(ShardBytes(many), bytes);
  // The same files under other names, listed one by one from behind.
  fs::create_directories(folder + "/renamed");
  DataBuildConfig renamed = ConfigOf(folder + "/c", folder + "/other");
  renamed.corpus.inputs[0].paths.clear();
  for (int f = 6; f >= 0; --f) {
    const std::string ending = f % 3 == 1 ? ".jsonl.gz" : f % 3 == 2 ? ".jsonl.zst" : ".jsonl";
    const std::string name = StrCat(folder, "/renamed/", (f * 5) % 7, ending);
    fs::copy(StrCat(folder, "/c/part-", f, ending), name);
    renamed.corpus.inputs[0].paths.push_back(name);
  }
  renamed.shards.threads = 3;
  Built(renamed);
  EXPECT_EQ(ShardBytes(renamed), bytes);
}

TEST(Build, BlocksOfALargeFileAreTheFile) {
  const std::string folder = TempFolder("blocks");
  WriteCorpus(folder + "/c", 1, 500);
  const std::string path = folder + "/c/part-0.jsonl";
  CorpusConfig corpus;
  corpus.inputs.push_back({{path}});
  const std::vector<TextFile> files = ListTextFiles(corpus).value();
  std::vector<std::string> expected, found;
  const auto read = [](DocumentReader& reader, std::vector<std::string>& out) {
    TextDocument document;
    while (true) {
      const absl::StatusOr<bool> more = reader.Next(document);
      if (more.ok() && !*more) return;
      out.push_back(StrCat(reader.line(), " ",
                           more.ok() ? document.text : std::string(more.status().message())));
    }
  };
  read(*DocumentReader::Open(files[0]).value(), expected);
  for (const int64_t unit_bytes : {1, 100, 5000, 1 << 20}) {
    StageClock clock;
    const auto plan = PlanBuild(files, "", 3, clock, unit_bytes);
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(plan->units.size() > 1, unit_bytes < (1 << 20));
    found.clear();
    for (const BuildUnit& unit : plan->units) {
      for (const UnitPiece& piece : unit.pieces) {
        const auto reader = piece.whole ? DocumentReader::Open(files[0])
                                        : DocumentReader::Open(files[0], piece.block);
        read(**reader, found);
      }
    }
    EXPECT_EQ(found, expected) << unit_bytes;
  }
}

// What is left of a build when it ends at any point: the next one goes on and ends the same.
TEST(Build, GoesOnAfterAnError) {
  const std::string folder = TempFolder("goes-on");
  WriteCorpus(folder + "/c", 6, 300);
  const DataBuildConfig whole = ConfigOf(folder + "/c", folder + "/whole");
  Built(whole);
  DataBuildConfig config = ConfigOf(folder + "/c", folder + "/broken");
  // The last file is cut off: others are spooled, nothing is published.
  const std::string victim = folder + "/c/part-5.jsonl.zst";
  const std::string bytes = ReadFile(victim).value();
  WriteText(victim, bytes.substr(0, bytes.size() / 2));
  std::ostringstream out;
  const absl::Status status = BuildShards(config, out);
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("part-5.jsonl.zst: cut off"));
  EXPECT_FALSE(fs::exists(config.shards.path + "/corpus.json"));
  WriteText(victim, bytes);
  // Temporary files of a killed process are removed.
  WriteText(config.shards.path + "/unfinished/x.spool.0.tmp-1", "half");
  EXPECT_THAT(Built(config), HasSubstr("going on with an interrupted build"));
  EXPECT_EQ(ShardBytes(config), ShardBytes(whole));
  EXPECT_EQ(ReportOf(config).at("sources"), ReportOf(whole).at("sources"));
  EXPECT_FALSE(fs::exists(config.shards.path + "/unfinished"));
}

TEST(Build, CleansAndDropsDuplicates) {
  const std::string folder = TempFolder("cleans");
  const std::string common =
      "the build reads every file once and keeps the documents in a spool until it knows which of "
      "them are copies of others and which of them belong to a group that is held out";
  WriteText(folder + "/c/held.jsonl", Line(common, "aa", "h1"));
  WriteText(folder + "/c/part-0.jsonl",
            Line(common, "aa", "t1") + Line("cafe\u0301 \t\n", "aa", "t2") +
                Line("the quick brown fox jumps over the lazy dog and runs away", "bb", "t3") +
                Line("the quick brown  fox jumps over the lazy dog and runs away", "bb", "t4") +
                "{\"text\":\"\xff\xff\",\"language\":\"aa\",\"id\":\"t5\"}\n");
  DataBuildConfig config = ConfigOf(folder + "/c", folder);
  config.clean = {};
  config.clean.dedup.mode = DedupMode::kNear;
  Built(config);
  int64_t kept = 0;
  std::map<std::string, int64_t> dropped, bytes;
  const nlohmann::json report = ReportOf(config);
  for (const auto& source : report.at("sources")) {
    kept += source.at("documents").get<int64_t>();
    for (const auto& [reason, n] : source.at("dropped_documents").items())
      dropped[reason] += n.get<int64_t>();
    for (const auto& [reason, n] : source.at("dropped_bytes").items())
      bytes[reason] += n.get<int64_t>();
  }
  EXPECT_EQ(kept, 3) << "of equal texts the held-out one, of t3 and t4 one, and t2";
  EXPECT_EQ(dropped, (std::map<std::string, int64_t>{{"exact duplicate", 2}, {"not UTF-8", 1}}));
  EXPECT_EQ(bytes["changed by cleaning"], 1 + 3) << "composed, and the space at the end";
  const auto corpus = TokenCorpus::Open(config.shards.path).value();
  EXPECT_EQ(corpus->NumDocuments(Split::kHeldout, 0), 1);
  const std::string folder_of_shards = fs::path(corpus->index().tokenizer.file).parent_path();
  const std::string html =
      ReadFile(StrCat(config.shards.path, "/", folder_of_shards, "/report.html")).value();
  EXPECT_THAT(html, HasSubstr("2 exact duplicate"));
  EXPECT_THAT(html, ::testing::Not(HasSubstr("src=")));
  EXPECT_THAT(html, ::testing::Not(HasSubstr("href=")));
}

TEST(Build, NothingLeftIsAnErrorThatSaysWhy) {
  const std::string folder = TempFolder("nothing-left");
  WriteText(folder + "/c/part-0.jsonl", "junk\n");
  WriteText(folder + "/c/held.jsonl", "{}\n");
  std::ostringstream out;
  const absl::Status status = BuildShards(ConfigOf(folder + "/c", folder), out);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("no document is left"));
  EXPECT_THAT(std::string(status.message()), HasSubstr(".jsonl:1: "));
  EXPECT_THAT(out.str(), HasSubstr("2 malformed"));
}

TEST(Build, LanguagesThatAreNotAskedFor) {
  const std::string folder = TempFolder("languages");
  WriteCorpus(folder + "/c", 2, 100);
  DataBuildConfig config = ConfigOf(folder + "/c", folder);
  config.corpus.languages = {"aa", "bb"};
  Built(config);
  EXPECT_THAT(IndexOf(config).languages, ::testing::ElementsAre("aa", "bb"));
  int64_t dropped = 0;
  const nlohmann::json report = ReportOf(config);
  for (const auto& source : report.at("sources")) {
    if (source.at("language") == "cc") {
      dropped += source.at("dropped_documents").value("language not asked for", 0);
    }
  }
  EXPECT_GT(dropped, 50);
}

}  // namespace
}  // namespace choir
