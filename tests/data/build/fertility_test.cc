// Tokens by character and word: `choir tokenizer stats`, and the report of a build beside it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/strings.h"
#include "data/shard/corpus_index.h"
#include "data/tokenizer/tokenizer.h"
#include "tests/data/test_corpus.h"

namespace choir {
namespace {

using ::testing::HasSubstr;
using testing_data::TempFolder;
using testing_data::WriteText;

std::string TextRecord(const std::string& text, const std::string& language) {
  nlohmann::json record = {{"text", text}};
  if (!language.empty()) record["language"] = language;
  return record.dump() + "\n";
}

std::string Gpt2() {
  return std::string(CHOIR_SOURCE_DIR) + "/tests/fixtures/tokenizers/gpt2/tokenizer.json";
}

struct StatsRow {
  int64_t tokens = 0;
  std::string by_character, by_word, by_token;  // as printed
};

std::map<std::string, StatsRow> Stats(const std::string& model,
                                      const std::vector<std::string>& files) {
  std::stringstream out;
  EXPECT_EQ(PrintFertility(model, files, out), absl::OkStatus());
  std::string line, name;
  std::getline(out, line);
  EXPECT_EQ(line, "language       tokens  tokens/character  tokens/word  bytes/token");
  std::map<std::string, StatsRow> rows;
  for (StatsRow row;
       out >> name >> row.tokens >> row.by_character >> row.by_word >> row.by_token;) {
    rows[name] = row;
  }
  return rows;
}

TEST(TokenizerStats, CountsByLanguage) {
  const std::string folder = TempFolder("stats");
  const auto tokenizer = OpenTokenizer(Gpt2()).value();
  const auto count = [&](const char* text) {
    return static_cast<int64_t>(tokenizer->Encode(text).size());
  };
  WriteText(folder + "/a.jsonl",
            TextRecord("two words", "en") + TextRecord(" ein\tl\u00e4ngerer\n\nText", "de"));
  WriteText(folder + "/b.jsonl", TextRecord("one", "en") + TextRecord("\u4e2d\u6587", ""));
  const auto rows = Stats(Gpt2(), {folder + "/a.jsonl", folder + "/b.jsonl"});
  ASSERT_EQ(rows.size(), 4u);
  const int64_t en = count("two words") + count("one"), de = count(" ein\tl\u00e4ngerer\n\nText"),
                none = count("\u4e2d\u6587");
  // Characters, words and bytes by hand.
  const auto expect = [&](const char* name, int64_t tokens, double characters, double words,
                          double bytes) {
    const auto n = static_cast<double>(tokens);
    const StatsRow& row = rows.at(name);
    EXPECT_EQ(row.tokens, tokens) << name;
    EXPECT_EQ(row.by_character, absl::StrFormat("%.3f", n / characters)) << name;
    EXPECT_EQ(row.by_word, absl::StrFormat("%.2f", n / words)) << name;
    EXPECT_EQ(row.by_token, absl::StrFormat("%.2f", bytes / n)) << name;
  };
  expect("en", en, 12, 3, 12);
  expect("de", de, 19, 3, 20);
  expect("-", none, 2, 1, 6);
  expect("all", en + de + none, 33, 7, 38);
}

TEST(TokenizerStats, NamesTheLineThatIsNoRecord) {
  const std::string folder = TempFolder("stats");
  const auto error = [&](const std::string& line) {
    WriteText(folder + "/a.jsonl", TextRecord("x", "en") + line + "\n");
    std::ostringstream out;
    const absl::Status status = PrintFertility(Gpt2(), {folder + "/a.jsonl"}, out);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_EQ(out.str(), "");
    return std::string(status.message());
  };
  EXPECT_THAT(error("junk"), HasSubstr("a.jsonl:2: not a JSON object with a text"));
  EXPECT_THAT(error(R"({"text":1})"), HasSubstr("a.jsonl:2: not a JSON object with a text"));
  EXPECT_THAT(error(R"({"text":"x","language":2})"), HasSubstr(":2: language is no text"));
  std::ostringstream out;
  EXPECT_TRUE(absl::IsNotFound(PrintFertility(Gpt2(), {folder + "/none.jsonl"}, out)));
}

// The report's figures are those of the command, on the same documents.
TEST(TokenizerStats, AreThoseOfTheBuildReport) {
  const std::string folder = TempFolder("stats");
  std::map<std::string, std::string> files;
  int64_t documents = 0;
  for (const nlohmann::json& record : testing_data::FixtureRecords("train")) {
    files[record.at("language")] += TextRecord(record.at("text"), record.at("language"));
    ++documents;
  }
  DataBuildConfig config = testing_data::BuildConfigIn(folder);
  config.corpus.path.clear();
  config.corpus.inputs.push_back({{folder + "/*.jsonl"}});
  config.tokenizer.model = Gpt2();
  std::vector<std::string> paths;
  for (const auto& [language, lines] : files) {
    paths.push_back(StrCat(folder, "/", language, ".jsonl"));
    WriteText(paths.back(), lines);
  }
  std::ostringstream out;
  ASSERT_EQ(BuildShards(config, out), absl::OkStatus()) << out.str();
  const std::string shards =
      std::filesystem::path(ReadCorpusIndex(config.shards.path)->tokenizer.file).parent_path();
  const std::string report = StrCat(config.shards.path, "/", shards, "/report");
  struct Sum {
    int64_t tokens = 0, characters = 0, words = 0;
  };
  std::map<std::string, Sum> sums;
  const auto json = nlohmann::json::parse(ReadFile(report + ".json").value());
  for (const auto& source : json.at("sources")) {
    documents -= source.at("documents").get<int64_t>();
    for (const std::string& name : {source.at("language").get<std::string>(), std::string("all")}) {
      sums[name].tokens += source.at("tokens").get<int64_t>();
      sums[name].characters += source.at("characters").get<int64_t>();
      sums[name].words += source.at("words").get<int64_t>();
    }
  }
  EXPECT_EQ(documents, 0) << "every document is kept";
  const auto rows = Stats(Gpt2(), paths);
  ASSERT_EQ(rows.size(), sums.size());
  const std::string html = ReadFile(report + ".html").value();
  EXPECT_THAT(html, HasSubstr("<th>tokens/word</th><th>tokens/character</th>"));
  for (const auto& [name, row] : rows) {
    const Sum& sum = sums.at(name);
    const auto tokens = static_cast<double>(sum.tokens);
    EXPECT_EQ(sum.tokens, row.tokens) << name;
    EXPECT_EQ(absl::StrFormat("%.2f", tokens / static_cast<double>(sum.words)), row.by_word);
    EXPECT_EQ(absl::StrFormat("%.3f", tokens / static_cast<double>(sum.characters)),
              row.by_character);
    const size_t begin =
        html.find(StrCat("<tr", name == "all" ? " class=\"all\"" : "", "><td>", name, "</td>"));
    ASSERT_NE(begin, html.npos) << name;
    const std::string cells = html.substr(begin, html.find("</tr>", begin) - begin);
    EXPECT_THAT(cells, HasSubstr(StrCat("<td>", row.by_word, "</td><td class=\"left\">"))) << name;
    EXPECT_THAT(cells, HasSubstr(StrCat("</span>", row.by_character, "</td>"))) << name;
  }
}

}  // namespace
}  // namespace choir
