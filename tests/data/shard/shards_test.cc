#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <sstream>

#include "base/file.h"
#include "base/hash.h"
#include "base/random.h"
#include "data/shard/hdf5_shard.h"
#include "data/shard/shard_reader.h"
#include "data/shard/token_corpus.h"
#include "tests/data/test_corpus.h"

namespace choir {
namespace {

using ::testing::HasSubstr;
using testing_data::FixtureFolder;
using testing_data::FixtureRecords;
using testing_data::TempFolder;

std::string ShardsFolder() { return FixtureFolder() + "/shards"; }

// A copy of the fixture's shards that a test may damage.
std::string CopyOfShards(const std::string& name) {
  const std::string copy = TempFolder(name) + "/shards";
  std::filesystem::copy(ShardsFolder(), copy, std::filesystem::copy_options::recursive);
  return copy;
}

TEST(Shards, HoldEveryDocumentOfTheText) {
  const auto corpus = TokenCorpus::Open(ShardsFolder()).value();
  const auto tokenizer = corpus->OpenItsTokenizer().value();
  EXPECT_GE(corpus->languages().size(), 28u);
  EXPECT_GT(corpus->index().shards.size(), 2u) << "the test wants several shards by split";
  for (const Split split : kAllSplits) {
    std::map<uint64_t, nlohmann::json> records;
    for (const nlohmann::json& record : FixtureRecords(SplitName(split))) {
      records[HashOf64(std::string(record.at("id")))] = record;
    }
    int64_t labels = 0;
    for (int32_t l = 0; l < static_cast<int32_t>(corpus->languages().size()); ++l) {
      for (int64_t d = 0; d < corpus->NumDocuments(split, l); ++d) {
        const TokenDocument document = corpus->GetDocument(split, l, d).value();
        ASSERT_TRUE(records.contains(document.id));
        const nlohmann::json record = records[document.id];
        records.erase(document.id);
        std::vector<int32_t> ids;
        for (int64_t i = 0; i < document.length; ++i) ids.push_back(document.token(i));
        ASSERT_EQ(ids.front(), tokenizer->bos_id());
        ASSERT_EQ(ids.back(), tokenizer->eos_id());
        const std::string text = record.at("text");
        EXPECT_EQ(tokenizer->Decode(ids), text);
        EXPECT_EQ(document.bytes, static_cast<int64_t>(text.size()));
        EXPECT_EQ(corpus->languages()[l], record.at("language"));
        EXPECT_EQ(corpus->sources()[document.source], record.at("source"));
        EXPECT_EQ(document.group, HashOf64(std::string(record.at("group"))));
        labels += document.length - 1;
      }
      labels -= corpus->NumLabels(split, l);
    }
    EXPECT_TRUE(records.empty()) << records.size() << " documents are missing";
    EXPECT_EQ(labels, 0);
  }
}

TEST(Shards, AreOfBoundedSizeAndTheReportAddsUp) {
  const auto corpus = TokenCorpus::Open(ShardsFolder()).value();
  int64_t tokens = 0;
  for (const ShardInfo& shard : corpus->index().shards) {
    EXPECT_LE(shard.tokens, testing_data::BuildConfigIn("").shards.max_tokens_per_shard);
    tokens += shard.tokens;
  }
  for (const Split split : kAllSplits) {
    for (int32_t l = 0; l < static_cast<int32_t>(corpus->languages().size()); ++l) {
      const LanguageReport& report = corpus->index().report[static_cast<int>(split)][l];
      int64_t dropped = 0, dropped_bytes = 0;
      for (const auto& [reason, count] : report.dropped_documents) dropped += count;
      for (const auto& [reason, count] : report.dropped_bytes) dropped_bytes += count;
      EXPECT_EQ(report.documents_in, report.documents + dropped);
      EXPECT_EQ(report.bytes_in, report.bytes + dropped_bytes);
      EXPECT_EQ(report.documents, corpus->NumDocuments(split, l));
      EXPECT_EQ(report.tokens + report.documents, corpus->NumLabels(split, l));
      tokens -= report.tokens + 2 * report.documents;
    }
  }
  EXPECT_EQ(tokens, 0);
}

TEST(Shards, HeldOutGroupsAreNotInTraining) {
  const auto corpus = TokenCorpus::Open(ShardsFolder()).value();
  std::set<uint64_t> groups[kNumSplits];
  for (const Split split : kAllSplits) {
    for (int32_t l = 0; l < static_cast<int32_t>(corpus->languages().size()); ++l) {
      for (int64_t d = 0; d < corpus->NumDocuments(split, l); ++d) {
        groups[static_cast<int>(split)].insert(corpus->GetDocument(split, l, d)->group);
      }
    }
  }
  EXPECT_GT(groups[1].size(), 10u);
  for (const uint64_t group : groups[1]) EXPECT_FALSE(groups[0].contains(group));
}

TEST(Shards, ATouchedIndexIsFound) {
  const std::string folder = CopyOfShards("index");
  const std::string path = folder + "/corpus.json";
  const std::string whole = ReadFile(path).value();
  for (size_t at = 0; at < whole.size(); at += whole.size() / 97 + 1) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    if (damaged[at] == ' ' || whole[at] == ' ') continue;  // white space is not content
    testing_data::WriteText(path, damaged);
    const absl::Status status = ReadCorpusIndex(folder).status();
    ASSERT_TRUE(absl::IsDataLoss(status)) << at << ": " << status;
    ASSERT_THAT(std::string(status.message()), HasSubstr(path));
  }
  // Another format, though its seal is right.
  nlohmann::json json = nlohmann::json::parse(whole);
  json.erase("seal");
  json["format"] = 1;
  json["seal"] = ToHex(HashOf128(json.dump()));
  testing_data::WriteText(path, json.dump());
  const absl::Status old = TokenCorpus::Open(folder).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(old));
  EXPECT_THAT(std::string(old.message()), HasSubstr("format 1, this program reads format 2"));
  EXPECT_THAT(std::string(old.message()), HasSubstr("run `choir data build` again"));
  std::filesystem::remove(path);
  EXPECT_THAT(std::string(TokenCorpus::Open(folder).status().message()),
              HasSubstr("`choir data build` makes one"));
}

TEST(Shards, AnotherTokenizerBesideThemIsRefused) {
  const std::string folder = CopyOfShards("other-tokenizer");
  const auto corpus = TokenCorpus::Open(folder).value();
  std::string model = ReadFile(corpus->tokenizer_path()).value();
  // The trailing field of the model is its training settings: a model of other settings.
  DataBuildConfig config = testing_data::BuildConfigIn(TempFolder("other-build"));
  config.tokenizer.vocab_size = 1900;
  std::ostringstream out;
  ASSERT_EQ(BuildTokenizer(config, out), absl::OkStatus());
  testing_data::WriteText(corpus->tokenizer_path(), ReadFile(config.tokenizer.model).value());
  const absl::Status status = corpus->OpenItsTokenizer().status();
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr(corpus->tokenizer_path()));
}

TEST(Shards, BuildIsDeterministicReusesAndRebuilds) {
  DataBuildConfig config = testing_data::BuildConfigIn(TempFolder("rebuild"));
  config.tokenizer.model = FixtureFolder() + "/shards/tokenizer.model";
  config.shards.threads = 1;  // the fixture used two
  std::ostringstream first, second, third, fourth;
  ASSERT_EQ(BuildShards(config, first), absl::OkStatus());
  const CorpusIndex built = ReadCorpusIndex(config.shards.path).value();
  EXPECT_EQ(built.fingerprint, ReadCorpusIndex(ShardsFolder()).value().fingerprint);
  ASSERT_EQ(BuildShards(config, second), absl::OkStatus());
  EXPECT_THAT(second.str(), HasSubstr("nothing to do"));
  // A damaged shard is made again.
  testing_data::WriteText(config.shards.path + "/" + built.shards[0].file, "junk");
  ASSERT_EQ(BuildShards(config, third), absl::OkStatus());
  EXPECT_THAT(third.str(), HasSubstr("published"));
  EXPECT_EQ(TokenCorpus::Open(config.shards.path).value()->index().fingerprint, built.fingerprint);
  // Other settings replace the shards, and the old ones go.
  config.shards.max_bytes_per_language = 6000;
  ASSERT_EQ(BuildShards(config, fourth), absl::OkStatus());
  const auto smaller = TokenCorpus::Open(config.shards.path).value();
  EXPECT_NE(smaller->index().fingerprint, built.fingerprint);
  EXPECT_LT(smaller->NumLabels(Split::kTrain, 0),
            TokenCorpus::Open(ShardsFolder()).value()->NumLabels(Split::kTrain, 0));
  EXPECT_FALSE(std::filesystem::exists(config.shards.path + "/" + built.shards[0].file));
  EXPECT_THAT(fourth.str(), HasSubstr("over max_bytes_per_language"));
}

TEST(Shards, StatsPrintsEveryLanguage) {
  std::ostringstream out;
  ASSERT_EQ(PrintDataStats(ShardsFolder(), out), absl::OkStatus());
  const CorpusIndex index = ReadCorpusIndex(ShardsFolder()).value();
  for (const std::string& language : index.languages) {
    EXPECT_THAT(out.str(), HasSubstr("\n" + language + " "));
  }
  EXPECT_TRUE(absl::IsNotFound(PrintDataStats(ShardsFolder() + "/none", out)));
}

TEST(Shards, BuildWithoutATokenizerSaysHowToMakeOne) {
  DataBuildConfig config = testing_data::BuildConfigIn(TempFolder("no-tokenizer"));
  std::ostringstream out;
  EXPECT_THAT(std::string(BuildShards(config, out).message()),
              HasSubstr("`choir tokenizer train CONFIG`"));
}

TEST(Shards, LargeVocabulariesTakeFourBytes) {
  const std::string folder = TempFolder("wide");
  for (const int64_t vocab : {int64_t{65536}, int64_t{65537}}) {
    TokenizerInfo tokenizer;
    tokenizer.vocab_size = vocab;
    ShardWriter writer(Split::kTrain, tokenizer);
    const auto last = static_cast<int32_t>(vocab - 1);
    writer.Add({0, 0, 1, 2, 3}, std::vector<int32_t>{1, last, 2});
    writer.Add({4, 1, 5, 6, 7}, std::vector<int32_t>{1, 7, last, 2});
    CorpusIndex tables;
    const ShardInfo info = writer.Finish(folder, "wide.h5", tables).value();
    EXPECT_EQ(writer.documents(), 0);
    EXPECT_EQ(info.tokens, 7);
    const auto reader = ShardReader::Open(folder, info).value();
    EXPECT_EQ(reader->wide(), vocab > 65536);
    ASSERT_EQ(reader->Check(ShardArray::kTokens, 0, 7), absl::OkStatus());
    TokenDocument document;
    document.wide = reader->wide();
    document.tokens = reader->Address(ShardArray::kTokens, 3);
    EXPECT_EQ(document.token(1), 7);
    EXPECT_EQ(document.token(2), last);
    EXPECT_EQ(reader->Get<uint16_t>(ShardArray::kLanguage, 1), 4);
    EXPECT_EQ(reader->Get<uint64_t>(ShardArray::kGroup, 1), 7u);
    EXPECT_EQ(CompareWithHdf5(folder, info), absl::OkStatus());
    ShardInfo other = info;
    other.token_bytes = reader->wide() ? 2 : 4;
    EXPECT_FALSE(CompareWithHdf5(folder, other).ok()) << "a width that the file does not have";
  }
}

}  // namespace
}  // namespace choir
