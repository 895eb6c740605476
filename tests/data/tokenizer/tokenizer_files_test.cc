// Files that are wrong, hostile, or say little.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/strings.h"
#include "data/tokenizer/nfc.h"
#include "data/tokenizer/tokenizer.h"
#include "tests/data/test_corpus.h"

namespace choir {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

std::string Fixture(const std::string& name) {
  return std::string(CHOIR_SOURCE_DIR) + "/tests/fixtures/tokenizers/" + name;
}

Json Good() { return Json::parse(ReadFile(Fixture("gpt2/tokenizer.json")).value()); }

absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const std::string& content) {
  const std::string path = testing_data::TempFolder("files") + "/some.file";
  testing_data::WriteText(path, content);
  return OpenTokenizer(path);
}

std::string Error(const Json& json) { return std::string(Open(json.dump()).status().message()); }

TEST(TokenizerFiles, WhatIsNotSupportedIsRefusedByName) {
  const auto with = [](auto change) {
    Json json = Good();
    change(json);
    return Error(json);
  };
  EXPECT_EQ(with([](Json&) {}), "");
  EXPECT_THAT(with([](Json& j) {
                j["normalizer"] = {{"type", "NFKC"}};
              }),
              HasSubstr("normalizer NFKC is not supported"));
  EXPECT_THAT(with([](Json& j) {
                j["pre_tokenizer"] = {{"type", "Metaspace"}};
              }),
              HasSubstr("pre_tokenizer Metaspace is not supported"));
  EXPECT_THAT(with([](Json& j) { j["pre_tokenizer"] = nullptr; }),
              HasSubstr("no ByteLevel pre_tokenizer"));
  EXPECT_THAT(with([](Json& j) { j["model"]["type"] = "Unigram"; }),
              HasSubstr("model Unigram is not supported"));
  EXPECT_THAT(with([](Json& j) { j["model"]["dropout"] = 0.1; }), HasSubstr("model.dropout"));
  EXPECT_THAT(with([](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }),
              HasSubstr("end_of_word_suffix"));
  EXPECT_THAT(with([](Json& j) {
                j["pre_tokenizer"] = {
                    {"type", "Sequence"},
                    {"pretokenizers",
                     {{{"type", "Split"}, {"pattern", {{"Regex", " "}}}, {"behavior", "Removed"}},
                      {{"type", "ByteLevel"}, {"add_prefix_space", false}}}}};
              }),
              HasSubstr("'Removed', which loses text"));
  EXPECT_THAT(with([](Json& j) {
                j["pre_tokenizer"] = {
                    {"type", "Sequence"},
                    {"pretokenizers",
                     {{{"type", "Split"}, {"pattern", {{"Regex", R"(\p{N}{1,3}+)"}}}},
                      {{"type", "ByteLevel"}, {"add_prefix_space", false}}}}};
              }),
              HasSubstr("an interval with +"));
}

TEST(TokenizerFiles, DamageIsAnError) {
  const auto with = [](auto change) {
    Json json = Good();
    change(json);
    return Error(json);
  };
  EXPECT_THAT(with([](Json& j) { j["model"]["vocab"].erase("!"); }), HasSubstr("byte 33"));
  EXPECT_THAT(with([](Json& j) { j["model"]["vocab"]["!"] = 50; }), HasSubstr("two tokens"));
  EXPECT_THAT(with([](Json& j) { j["model"]["vocab"]["!"] = -1; }), HasSubstr("has no id"));
  EXPECT_THAT(with([](Json& j) { j["model"]["vocab"]["!"] = 4e9; }), HasSubstr("has no id"));
  EXPECT_THAT(with([](Json& j) { j["model"]["vocab"] = 5; }), HasSubstr("vocab is no object"));
  EXPECT_THAT(with([](Json& j) { j["model"]["merges"].push_back("a"); }), HasSubstr("is neither"));
  EXPECT_THAT(with([](Json& j) { j["model"]["merges"].push_back("! \u0100"); }),
              HasSubstr("not in model.vocab"));
  EXPECT_THAT(with([](Json& j) { j["added_tokens"][1]["content"] = "<|begin_of_text|>"; }),
              HasSubstr("two added tokens"));
  EXPECT_THAT(with([](Json& j) { j["added_tokens"][1]["id"] = 40; }),
              HasSubstr("has the id of another token"));
  EXPECT_THAT(with([](Json& j) { j["added_tokens"][1]["id"] = int64_t{1} << 40; }),
              HasSubstr("has no id"));
  EXPECT_THAT(with([](Json& j) { j["added_tokens"] = {{"a", 1}}; }), HasSubstr("no list"));
  EXPECT_THAT(with([](Json& j) {
                Json step = j["pre_tokenizer"];
                for (int i = 0; i < 100; ++i) {
                  step = {{"type", "Sequence"}, {"pretokenizers", Json::array({step})}};
                }
                j["pre_tokenizer"] = step;
              }),
              HasSubstr("too deep"));
  EXPECT_THAT(std::string(Open("{\"a\": ").status().message()), HasSubstr("not a JSON object"));
  EXPECT_THAT(std::string(Open("{}").status().message()), HasSubstr("no tokenizer.json"));
  EXPECT_THAT(std::string(Open(std::string(100'000, '{')).status().message()),
              HasSubstr("not a JSON object"));
}

TEST(TokenizerFiles, RankFiles) {
  const std::string good = ReadFile(Fixture("cl100k_base.tiktoken")).value();
  const std::string folder = testing_data::TempFolder("ranks"), path = folder + "/my.tiktoken";
  const auto error = [&](const std::string& ranks, const std::string& config) {
    testing_data::WriteText(path, ranks);
    if (!config.empty()) testing_data::WriteText(folder + "/tokenizer_config.json", config);
    return std::string(OpenTokenizer(path).status().message());
  };
  EXPECT_THAT(error(good, ""), HasSubstr("name it after its family (cl100k_base"));
  const std::string config =
      R"({"pattern": "cl100k", "special_tokens": {"<s>": 5000}, "eos_token": "<s>"})";
  EXPECT_EQ(error(good, config), "");
  EXPECT_THAT(error(good + "!!! 900\n", config), HasSubstr("my.tiktoken:898: not a token"));
  EXPECT_THAT(error(good + "YWI= 3\n", config), HasSubstr("rank 3 was there before"));
  EXPECT_THAT(error(good + "YWI= 99999999999\n", config), HasSubstr("is no rank"));
  EXPECT_THAT(error(good + good.substr(0, good.find(' ')) + " 3000\n", config),
              HasSubstr("are the same token"));
  EXPECT_THAT(error(good, R"({"pattern": "("})"), HasSubstr("pattern is neither"));
  EXPECT_THAT(error(good, R"({"pattern": "cl100k", "special_tokens": {"<s>": -1}})"),
              HasSubstr("'<s>' has no id"));
  EXPECT_THAT(error(good, R"({"pattern": "cl100k"})"), HasSubstr("no token ends a text"));
  EXPECT_THAT(error(good, R"({"pattern": "cl100k", "eos_token": "</s>"})"),
              HasSubstr("eos_token '</s>' is no token of it"));
}

TEST(TokenizerFiles, SpecialTokensComeFromFilesThenCommonNames) {
  const std::string folder = testing_data::TempFolder("special"), path = folder + "/x.json";
  testing_data::WriteText(path, Good().dump());
  const auto ids = [&] {
    const auto tokenizer = OpenTokenizer(path).value();
    return std::vector<int32_t>{tokenizer->bos_id(), tokenizer->eos_id(), tokenizer->pad_id()};
  };
  const auto first = OpenTokenizer(path).value();
  const int32_t end = first->FindId("<|endoftext|>");
  EXPECT_GT(end, 2);
  EXPECT_EQ(first->FindId("<|nothing|>"), -1);
  EXPECT_EQ(ids(), (std::vector<int32_t>{0, end, 2}));
  testing_data::WriteText(folder + "/special_tokens_map.json",
                          R"({"eos_token": {"content": "<|end_of_text|>"}, "pad_token": null})");
  EXPECT_EQ(ids(), (std::vector<int32_t>{0, 1, 2}));
  testing_data::WriteText(folder + "/tokenizer_config.json", R"({"bos_token": "<|pad|>"})");
  EXPECT_EQ(ids(), (std::vector<int32_t>{2, 1, 2}));
  EXPECT_NE(OpenTokenizer(path).value()->fingerprint(), first->fingerprint());
  // A copy keeps what was found.
  const std::string copy = testing_data::TempFolder("special-copy");
  ASSERT_EQ(CopyTokenizer(path, copy), absl::OkStatus());
  EXPECT_EQ(OpenTokenizer(FindTokenizer(copy).value()).value()->fingerprint(),
            OpenTokenizer(path).value()->fingerprint());
}

TEST(Nfc, KnownTexts) {
  EXPECT_EQ(ToNfc("e\u0301"), "\u00e9");
  EXPECT_EQ(ToNfc("a\u0323\u0302 \u1ea1\u0302"), "\u1ead \u1ead");
  EXPECT_EQ(ToNfc("a\u0302\u0323"), "\u1ead");
  EXPECT_EQ(ToNfc("\u1112\u1161\u11ab \uac00\u11a8"), "\ud55c \uac01");
  EXPECT_EQ(ToNfc("\u212b\u2126"), "\u00c5\u03a9");
  EXPECT_EQ(ToNfc("\u0958"), "\u0915\u093c");
  EXPECT_EQ(ToNfc("x\xff"
                  "e\u0301\xe2\x96"),
            "x\xff\u00e9\xe2\x96");
  EXPECT_TRUE(IsSurelyNfc("caf\u00e9 \u4e2d\u6587 \ud55c\uad6d"));
  EXPECT_FALSE(IsSurelyNfc("e\u0301"));
}

}  // namespace
}  // namespace choir
