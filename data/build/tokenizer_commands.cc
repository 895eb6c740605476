// What data/build/commands.h does with a tokenizer that is there.
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/build/commands.h"
#include "data/tokenizer/fertility.h"
#include "data/tokenizer/tokenizer.h"

namespace choir {
namespace {

void PrintIds(const std::vector<int32_t>& ids, std::ostream& out) {
  std::string line;
  for (const int32_t id : ids) {
    if (!line.empty()) line += ' ';
    line += std::to_string(id);
  }
  out << line << '\n';
}

}  // namespace

absl::Status EncodeText(const std::string& model, std::string_view text, std::ostream& out) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, OpenTokenizer(model));
  PrintIds(tokenizer->Encode(text), out);
  return absl::OkStatus();
}

absl::Status EncodeLines(const std::string& model, bool special, std::istream& in,
                         std::ostream& out) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, OpenTokenizer(model));
  std::vector<int32_t> ids;
  std::string line;
  for (int64_t number = 1; std::getline(in, line); ++number) {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_string()) {
      return absl::InvalidArgumentError(StrCat("line ", number, ": not a JSON string"));
    }
    const std::string& text = json.get_ref<const std::string&>();
    ids.clear();
    if (special) {
      tokenizer->EncodeWithSpecial(text, ids);
    } else {
      tokenizer->Encode(text, ids);
    }
    PrintIds(ids, out);
  }
  return absl::OkStatus();
}

absl::Status PrintFertility(const std::string& model, const std::vector<std::string>& files,
                            std::ostream& out) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, OpenTokenizer(model));
  std::map<std::string, FertilityCounts> languages;
  FertilityCounts all;
  for (const std::string& path : files) {
    ASSIGN_OR_RETURN(const std::string content, ReadFile(path));
    std::istringstream lines(content);
    std::string line;
    for (int64_t number = 1; std::getline(lines, line); ++number) {
      const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
      if (!json.is_object() || !json.contains("text") || !json["text"].is_string()) {
        return absl::InvalidArgumentError(
            StrCat(path, ":", number, ": not a JSON object with a text"));
      }
      const nlohmann::json language = json.value("language", nlohmann::json("-"));
      if (!language.is_string()) {
        return absl::InvalidArgumentError(StrCat(path, ":", number, ": language is no text"));
      }
      const FertilityCounts counts =
          Fertility(*tokenizer, json["text"].get_ref<const std::string&>());
      languages[language.get<std::string>()] += counts;
      all += counts;
    }
  }
  out << "language       tokens  tokens/character  tokens/word  bytes/token\n";
  const auto row = [&](const std::string& name, const FertilityCounts& counts) {
    const auto ratio = [](int64_t a, int64_t b) {
      return b == 0 ? 0.0 : static_cast<double>(a) / static_cast<double>(b);
    };
    out << absl::StrFormat("%-10s %10d %17.3f %12.2f %12.2f\n", name, counts.tokens,
                           ratio(counts.tokens, counts.characters),
                           ratio(counts.tokens, counts.words), ratio(counts.bytes, counts.tokens));
  };
  for (const auto& [language, counts] : languages) row(language, counts);
  row("all", all);
  return absl::OkStatus();
}

absl::Status DecodeIds(const std::string& model, std::string_view ids, std::ostream& out) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, OpenTokenizer(model));
  constexpr std::string_view kSpace = " \t\r\n";
  std::string text;
  for (size_t at = 0; (at = ids.find_first_not_of(kSpace, at)) != ids.npos;) {
    const size_t end = std::min(ids.find_first_of(kSpace, at), ids.size());
    int32_t id = -1;
    const auto result = std::from_chars(ids.data() + at, ids.data() + end, id);
    if (result.ec != std::errc() || result.ptr != ids.data() + end || id < 0 ||
        id >= tokenizer->vocab_size()) {
      return absl::InvalidArgumentError(StrCat("'", ids.substr(at, end - at), "' is no token id: ",
                                               model, " has 0 to ", tokenizer->vocab_size() - 1));
    }
    text += tokenizer->Bytes(id);
    at = end;
  }
  out << text;
  return absl::OkStatus();
}

}  // namespace choir
