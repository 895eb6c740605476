// Token shards as the text of another build.
#include "data/build/shard_inputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "base/file.h"
#include "base/hash.h"
#include "base/strings.h"
#include "data/shard/hdf5_shard.h"
#include "data/shard/token_corpus.h"
#include "data/text/list_files.h"
#include "data/text/text_index.h"
#include "tests/data/test_corpus.h"

namespace choir {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing_data::BuildConfigIn;
using testing_data::FixtureFolder;
using testing_data::TempFolder;
using testing_data::WriteText;

struct ReadBack {
  std::string text, language, source;
  uint64_t group = 0;
  bool operator==(const ReadBack&) const = default;
};
using ReadBacks = std::map<uint64_t, ReadBack>;  // by id

void ReadAll(DocumentReader& reader, ReadBacks& out) {
  TextDocument document;
  for (;;) {
    const absl::StatusOr<bool> more = reader.Next(document);
    ASSERT_TRUE(more.ok()) << more.status();
    if (!*more) return;
    const ReadBack read{document.text, document.language, document.source,
                        HashOfName(document.group)};
    EXPECT_TRUE(out.emplace(HashOfName(document.id), read).second) << document.id;
  }
}

ReadBacks TextOf(const CorpusConfig& config) {
  const std::vector<TextFile> files = ListTextFiles(config).value();
  const absl::StatusOr<ShardInputs> shards = ShardInputs::Find(files);
  EXPECT_TRUE(shards.ok()) << shards.status();
  ReadBacks out;
  for (const TextFile& file : files) ReadAll(**shards->Open(file), out);
  return out;
}

// All shards of a folder, each split for what it is.
CorpusConfig ShardsIn(const std::string& folder) {
  CorpusConfig config;
  config.inputs.push_back({{folder + "/shards-*/train-*.h5"}});
  config.inputs.push_back({{folder + "/shards-*/heldout-*.h5"}});
  config.inputs[1].split = Split::kHeldout;
  return config;
}

std::string TokenizerFixture(const std::string& name) {
  return StrCat(CHOIR_SOURCE_DIR, "/tests/fixtures/tokenizers/", name, "/tokenizer.json");
}

void Build(const DataBuildConfig& config) {
  std::ostringstream out;
  ASSERT_EQ(BuildShards(config, out), absl::OkStatus()) << out.str();
}

std::string ErrorOfBuild(const DataBuildConfig& config, absl::StatusCode code) {
  std::ostringstream out;
  const absl::Status status = BuildShards(config, out);
  EXPECT_EQ(status.code(), code) << status << out.str();
  EXPECT_FALSE(fs::exists(config.shards.path + "/corpus.json"));
  return std::string(status.message());
}

// The fixture, and texts that spell special tokens or that a tokenizer might change.
DataBuildConfig OddConfigIn(const std::string& folder, const std::string& tokenizer) {
  DataBuildConfig config = BuildConfigIn(folder);
  std::string lines;
  int64_t number = 0;
  for (const char* text :
       {"<s> a </s> <pad><|endoftext|><|begin_of_text|> <unk>", " \r\n\t two  spaces  \n\n",
        "\u2581marks\u2581", "\u200b\ufeff\u00a0\u3000", "0123456789 \U0001F469\u200D\U0001F52C",
        "caf\u00e9", "x", "\u0e01\u0e33 \u4e2d\u6587"}) {
    lines += nlohmann::json{{"text", text},
                            {"language", "xx"},
                            {"id", StrCat("odd-", ++number)},
                            {"group", StrCat("g", number / 2)},
                            {"source", StrCat("s", number % 3)}}
                 .dump() +
             "\n";
  }
  WriteText(folder + "/odd.jsonl", lines);
  config.corpus.inputs.push_back({{folder + "/odd.jsonl"}});
  config.tokenizer.model = tokenizer;
  return config;
}

std::string SentencePieceModel() { return FixtureFolder() + "/shards/tokenizer.model"; }

TEST(ShardInputs, DecodeToTheTextByteForByte) {
  for (const std::string& tokenizer : {SentencePieceModel(), TokenizerFixture("llama3"),
                                       TokenizerFixture("gpt2"), TokenizerFixture("merged")}) {
    ASSERT_TRUE(OpenTokenizer(tokenizer).value()->lossless()) << tokenizer;
    const DataBuildConfig config = OddConfigIn(TempFolder("exact"), tokenizer);
    Build(config);
    const ReadBacks found = TextOf(ShardsIn(config.shards.path));
    const ReadBacks expected = TextOf(config.corpus);
    ASSERT_EQ(found.size(), expected.size()) << tokenizer;
    for (const auto& [id, document] : expected) {
      ASSERT_EQ(found.at(id).text, document.text) << tokenizer;
      ASSERT_EQ(found.at(id), document) << tokenizer;
    }
  }
}

// What is normalised comes back normalised, and is the same tokens again.
TEST(ShardInputs, DecodeToNormalisedTextWhereTheTokenizerNormalises) {
  for (const auto& [name, in, out] :
       {std::tuple("qwen2", "cafe\u0301", "caf\u00e9"), std::tuple("prefix", "word", " word")}) {
    const std::string folder = TempFolder("normalised");
    DataBuildConfig config = BuildConfigIn(folder);
    ASSERT_FALSE(OpenTokenizer(TokenizerFixture(name)).value()->lossless());
    WriteText(folder + "/a.jsonl",
              nlohmann::json{{"text", in}, {"language", "xx"}, {"id", "1"}}.dump() + "\n");
    config.corpus.path.clear();
    config.corpus.inputs.push_back({{folder + "/a.jsonl"}});
    config.tokenizer.model = TokenizerFixture(name);
    Build(config);
    CorpusConfig shards;
    shards.inputs.push_back({{config.shards.path + "/*/*.h5"}});
    EXPECT_EQ(TextOf(shards).at(HashOf64("1")).text, out);
    DataBuildConfig again = config;
    again.corpus = shards;
    again.shards.path = folder + "/again";
    Build(again);
    const auto first = TokenCorpus::Open(config.shards.path).value();
    const auto second = TokenCorpus::Open(again.shards.path).value();
    const TokenDocument a = first->GetDocument(Split::kTrain, 0, 0).value();
    const TokenDocument b = second->GetDocument(Split::kTrain, 0, 0).value();
    ASSERT_EQ(a.length, b.length) << name;
    for (int64_t i = 0; i < a.length; ++i) EXPECT_EQ(a.token(i), b.token(i)) << name;
  }
}

// Everything that a corpus says of its documents, by split and id.
using Documents = std::map<std::pair<Split, uint64_t>, std::string>;

Documents DocumentsOf(const std::string& path) {
  const auto corpus = TokenCorpus::Open(path).value();
  Documents out;
  for (const Split split : kAllSplits) {
    for (size_t l = 0; l < corpus->languages().size(); ++l) {
      const auto language = static_cast<int32_t>(l);
      for (int64_t i = 0; i < corpus->NumDocuments(split, language); ++i) {
        const TokenDocument d = corpus->GetDocument(split, language, i).value();
        std::string all = StrCat(corpus->languages()[l], " ", corpus->sources()[d.source], " ",
                                 d.bytes, " ", d.group, ":");
        for (int64_t t = 0; t < d.length; ++t) all += StrCat(" ", d.token(t));
        EXPECT_TRUE(out.emplace(std::pair(split, d.id), all).second);
      }
    }
  }
  return out;
}

TEST(ShardInputs, TheSameTokenizerMakesTheSameDocuments) {
  const std::string folder = TempFolder("same");
  DataBuildConfig config = OddConfigIn(folder, SentencePieceModel());
  Build(config);
  DataBuildConfig again = config;
  again.corpus = ShardsIn(config.shards.path);
  again.shards.path = folder + "/again";
  again.shards.max_tokens_per_shard = 17'000;
  Build(again);
  const Documents expected = DocumentsOf(config.shards.path);
  EXPECT_GT(expected.size(), 300u);
  EXPECT_EQ(DocumentsOf(again.shards.path), expected);
}

TEST(ShardInputs, AnotherTokenizerIsTrainedAndUsed) {
  const std::string folder = TempFolder("other");
  DataBuildConfig config = BuildConfigIn(folder);
  config.corpus = ShardsIn(FixtureFolder() + "/shards");
  config.corpus.languages = {"de", "zh"};
  config.tokenizer.model = folder + "/tokenizer.json";
  config.tokenizer.kind = TokenizerKind::kBpe;
  config.tokenizer.vocab_size = 700;
  std::ostringstream out;
  ASSERT_EQ(BuildTokenizer(config, out), absl::OkStatus());
  EXPECT_THAT(out.str(), HasSubstr("in 2 languages"));
  Build(config);
  const ReadBacks found = TextOf(ShardsIn(config.shards.path));
  ReadBacks expected = TextOf(ShardsIn(FixtureFolder() + "/shards"));
  std::erase_if(expected, [](const auto& document) {
    return document.second.language != "de" && document.second.language != "zh";
  });
  EXPECT_GT(expected.size(), 10u);
  EXPECT_EQ(found, expected);
}

// Groups are tied across shards and raw text.
TEST(ShardInputs, AGroupThatRawTextHoldsOutLeavesTheShards) {
  const std::string folder = TempFolder("groups");
  DataBuildConfig config = OddConfigIn(folder, SentencePieceModel());
  Build(config);
  WriteText(
      folder + "/held.jsonl",
      nlohmann::json{{"text", "held"}, {"language", "xx"}, {"id", "h"}, {"group", "g1"}}.dump() +
          "\n");
  DataBuildConfig again = config;
  again.corpus = ShardsIn(config.shards.path);
  again.corpus.inputs.push_back({{folder + "/held.jsonl"}});
  again.corpus.inputs[2].split = Split::kHeldout;
  again.shards.path = folder + "/again";
  Build(again);
  Documents expected = DocumentsOf(config.shards.path);
  for (const char* id : {"odd-2", "odd-3"}) {
    EXPECT_EQ(expected.erase({Split::kTrain, HashOf64(id)}), 1u);
  }
  Documents found = DocumentsOf(again.shards.path);
  EXPECT_EQ(found.erase({Split::kHeldout, HashOf64("h")}), 1u);
  EXPECT_EQ(found, expected);
}

TEST(ShardInputs, ADamagedChunkEndsTheBuildAndIsNamed) {
  const std::string folder = TempFolder("damaged");
  fs::copy(FixtureFolder() + "/shards", folder + "/shards", fs::copy_options::recursive);
  const CorpusIndex index = ReadCorpusIndex(folder + "/shards").value();
  const ShardInfo& info =
      *std::find_if(index.shards.begin(), index.shards.end(),
                    [](const ShardInfo& shard) { return shard.split == Split::kTrain; });
  const ShardLayout::Place place = ShardLayout::Of(info)->array(ShardArray::kTokens);
  ASSERT_EQ(place.NumChunks(), 2);
  const std::string path = StrCat(folder, "/shards/", info.file);
  std::string bytes = ReadFile(path).value();
  bytes[static_cast<size_t>(place.ChunkBegin(1) + 10)] ^= 4;
  WriteText(path, bytes);
  DataBuildConfig config = BuildConfigIn(folder);
  config.corpus = ShardsIn(folder + "/shards");
  config.tokenizer.model = SentencePieceModel();
  config.shards.path = folder + "/again";
  const std::string error = ErrorOfBuild(config, absl::StatusCode::kDataLoss);
  EXPECT_THAT(error, HasSubstr(info.file));
  EXPECT_THAT(error, HasSubstr("tokens"));
  EXPECT_THAT(error, HasSubstr("chunk 1"));
  // What comes before it is read, nothing behind.
  const std::vector<TextFile> files = ListTextFiles(config.corpus).value();
  const ShardInputs shards = ShardInputs::Find(files).value();
  const auto damaged = std::find_if(files.begin(), files.end(), [&](const TextFile& file) {
    return fs::path(file.path).filename() == fs::path(info.file).filename();
  });
  const auto reader = shards.Open(*damaged).value();
  const ReadBacks whole = TextOf(ShardsIn(FixtureFolder() + "/shards"));
  TextDocument document;
  int64_t before = 0;
  absl::StatusOr<bool> more = false;
  for (; (more = reader->Next(document)).ok(); ++before) {
    ASSERT_TRUE(*more);
    ASSERT_EQ(document.text, whole.at(HashOfName(document.id)).text);
  }
  EXPECT_GT(before, 10);
  EXPECT_TRUE(absl::IsDataLoss(more.status())) << more.status();
}

TEST(ShardInputs, TheTokenizerMustBeThatOfTheShards) {
  const std::string folder = TempFolder("tokenizer");
  fs::copy(FixtureFolder() + "/shards", folder + "/shards", fs::copy_options::recursive);
  const CorpusIndex index = ReadCorpusIndex(folder + "/shards").value();
  fs::remove(StrCat(folder, "/shards/", index.tokenizer.file));
  DataBuildConfig config = BuildConfigIn(folder);
  config.corpus = ShardsIn(folder + "/shards");
  config.tokenizer.model = TokenizerFixture("gpt2");
  config.shards.path = folder + "/again";
  EXPECT_THAT(ErrorOfBuild(config, absl::StatusCode::kNotFound),
              HasSubstr("set `tokenizer` in its entry of corpus.inputs to the one of fingerprint " +
                        index.tokenizer.fingerprint));
  for (CorpusInput& input : config.corpus.inputs) input.tokenizer = TokenizerFixture("gpt2");
  EXPECT_THAT(ErrorOfBuild(config, absl::StatusCode::kInvalidArgument),
              HasSubstr("was not made by the tokenizer " + TokenizerFixture("gpt2")));
  for (CorpusInput& input : config.corpus.inputs) input.tokenizer = SentencePieceModel();
  EXPECT_EQ(TextOf(config.corpus), TextOf(ShardsIn(FixtureFolder() + "/shards")));
}

TEST(ShardInputs, WhatIsNoInputIsRefused) {
  const std::string folder = TempFolder("refused");
  DataBuildConfig config = BuildConfigIn(folder);
  config.tokenizer.model = SentencePieceModel();
  config.corpus.path.clear();
  config.corpus.inputs.push_back({{FixtureFolder() + "/shards/*/*.h5"}});
  EXPECT_THAT(ErrorOfBuild(config, absl::StatusCode::kInvalidArgument),
              HasSubstr("`split: heldout`"));
  WriteText(folder + "/x/lone.h5", "x");
  config.corpus.inputs[0].paths = {folder + "/x/lone.h5"};
  EXPECT_THAT(ErrorOfBuild(config, absl::StatusCode::kNotFound), HasSubstr("no corpus.json in"));
  fs::copy(FixtureFolder() + "/shards", folder + "/copy", fs::copy_options::recursive);
  WriteText(folder + "/copy/left-over.h5", "x");
  config.corpus.inputs[0].paths = {folder + "/copy/left-over.h5"};
  EXPECT_THAT(ErrorOfBuild(config, absl::StatusCode::kInvalidArgument),
              HasSubstr("is not one of the shards"));
  // The build that would remove its own input.
  const ReadBacks before = TextOf(ShardsIn(folder + "/copy"));
  config.corpus = ShardsIn(folder + "/x/../copy");
  config.shards.path = folder + "/copy";
  std::ostringstream out;
  EXPECT_THAT(std::string(BuildShards(config, out).message()), HasSubstr("lies in shards.path"));
  EXPECT_EQ(TextOf(ShardsIn(folder + "/copy")), before);
  // Training on the fly.
  EXPECT_THAT(std::string(TextIndex::Open(config.corpus, folder + "/cache").status().message()),
              HasSubstr("with data.path in place of data.text"));
}

// Shards that no build of ours writes, sealed all the same.
TEST(ShardInputs, WhatIsNoTextIsNotRead) {
  const std::string folder = TempFolder("no-text");
  const auto tokenizer = OpenTokenizer(SentencePieceModel()).value();
  CorpusIndex index;
  index.tokenizer = ReadCorpusIndex(FixtureFolder() + "/shards")->tokenizer;
  const int32_t bos = index.tokenizer.bos_id, eos = index.tokenizer.eos_id;
  index.languages = {"de", "en"};
  index.sources = {"test"};
  for (auto& report : index.report) report.resize(2);
  const std::vector<int32_t> text = tokenizer->Encode("text");
  ShardWriter writer(Split::kTrain, index.tokenizer);
  const auto add = [&](int32_t language, int64_t bytes, std::vector<int32_t> inner) {
    inner.insert(inner.begin(), bos);
    inner.push_back(eos);
    writer.Add({language, 0, bytes, 7, 8}, inner);
  };
  std::vector<int32_t> special = text, outside = text;
  special.push_back(index.tokenizer.pad_id);
  outside.push_back(static_cast<int32_t>(index.tokenizer.vocab_size));
  add(0, 4, text);
  add(0, 4, special);
  add(0, 5, text);
  add(0, int64_t{65} << 20, text);
  add(1, 4, text);
  add(1, 4, outside);
  index.shards.push_back(writer.Finish(folder, "train-00000.h5", index).value());
  ASSERT_EQ(WriteCorpusIndex(folder, index), absl::OkStatus());
  CorpusConfig corpus;
  corpus.inputs.push_back({{folder + "/*.h5"}});
  corpus.inputs[0].tokenizer = SentencePieceModel();
  corpus.inputs[0].language = "de";
  const std::vector<TextFile> files = ListTextFiles(corpus).value();
  const auto reader = ShardInputs::Find(files)->Open(files[0]).value();
  TextDocument document;
  EXPECT_TRUE(reader->Next(document).value());
  EXPECT_EQ(document.text, "text");
  EXPECT_EQ(document.id, "#0000000000000007");
  EXPECT_EQ(document.group, "#0000000000000008");
  const auto expect = [&](absl::StatusCode code, const std::string& message) {
    const absl::Status status = reader->Next(document).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  };
  expect(absl::StatusCode::kInvalidArgument, "train-00000.h5:2: the special token");
  expect(absl::StatusCode::kInvalidArgument, ":3: decodes to 4 bytes of text, made from 5");
  expect(absl::StatusCode::kInvalidArgument, ":4: a document of 68157440 bytes");
  expect(absl::StatusCode::kInvalidArgument, ":5: language 'en' in a file of 'de'");
  expect(absl::StatusCode::kInvalidArgument, ":6: language 'en'");
  corpus.inputs[0].language.clear();
  const std::vector<TextFile> any = ListTextFiles(corpus).value();
  const auto again = ShardInputs::Find(any)->Open(any[0]).value();
  absl::Status last;
  while (absl::IsInvalidArgument(last) || last.ok()) last = again->Next(document).status();
  EXPECT_TRUE(absl::IsDataLoss(last)) << last;
  EXPECT_THAT(std::string(last.message()), HasSubstr("of a vocabulary of"));
}

}  // namespace
}  // namespace choir
