#include "data/tokenizer/splitter.h"

#include "base/config_field.h"
#include "base/strings.h"
#include "data/tokenizer/scanners.h"

namespace choir {
namespace {

constexpr std::string_view kLlama3Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kCl100kRegex =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+)"
    R"(|\s++$|\s*[\r\n]|\s+(?!\S)|\s)";
constexpr std::string_view kO200kRegex =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekkenRegex =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen35Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+)"
    R"([\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDeepSeekRegex =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
    R"(| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Newlines written as themselves, as some files have them, become \r and \n.
std::string WithEscapedNewlines(std::string_view regex) {
  std::string out;
  for (const char c : regex) {
    out += c == '\r' ? "\\r" : c == '\n' ? "\\n" : std::string(1, c);
  }
  return out;
}

}  // namespace

const std::vector<PatternFamily>& PatternFamilies() {
  static const auto* const families = new std::vector<PatternFamily>{
      {"gpt2", {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"}},
      {"cl100k", {kCl100kRegex}},
      {"llama3", {kLlama3Regex}},
      {"o200k", {kO200kRegex}},
      {"tekken", {kTekkenRegex}},
      {"qwen2", {kQwen2Regex}},
      {"qwen3.5", {kQwen35Regex}},
      {"deepseek", {R"(\p{N}{1,3})", "[一-龥぀-ゟ゠-ヿ]+", kDeepSeekRegex}},
  };
  return *families;
}

std::string PatternFamilyNames() {
  std::vector<std::string> names;
  for (const PatternFamily& family : PatternFamilies()) names.emplace_back(family.name);
  return JoinAlternatives(names);
}

absl::StatusOr<std::unique_ptr<Splitter>> MakeFamilySplitter(std::string_view name) {
  if (name == "gpt2") return MakeGpt2Scanner();
  if (name == "cl100k") return MakeCl100kScanner();
  if (name == "llama3") return MakeLlama3Scanner();
  if (name == "o200k") return MakeO200kScanner();
  if (name == "tekken") return MakeTekkenScanner();
  if (name == "qwen2") return MakeQwen2Scanner();
  if (name == "qwen3.5") return MakeQwen35Scanner();
  if (name == "deepseek") return MakeDeepSeekScanner();
  return absl::InvalidArgumentError(
      StrCat("no pattern is called '", name, "'; there are ", PatternFamilyNames()));
}

const PatternFamily* FindFamilyByName(std::string_view name) {
  for (const PatternFamily& family : PatternFamilies()) {
    if (family.name == name) return &family;
  }
  return nullptr;
}

const PatternFamily* FindFamily(const std::vector<std::string>& regexes) {
  for (const PatternFamily& family : PatternFamilies()) {
    if (family.regexes.size() != regexes.size()) continue;
    bool same = true;
    for (size_t i = 0; i < regexes.size(); ++i) {
      same = same && WithEscapedNewlines(regexes[i]) == family.regexes[i];
    }
    if (same) return &family;
  }
  return nullptr;
}

}  // namespace choir
