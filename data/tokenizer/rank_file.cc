#include "data/tokenizer/rank_file.h"

#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/tokenizer/regex_splitter.h"

namespace choir {
namespace {

struct KnownRanks {
  const char* name;
  RankSettings settings;
};

const std::vector<KnownRanks>& AllKnownRanks() {
  static const auto* const known = [] {
    const std::map<std::string, int32_t> o200k = {{"<|endoftext|>", 199999},
                                                  {"<|endofprompt|>", 200018}};
    std::map<std::string, int32_t> harmony = o200k;
    for (const auto& [name, id] : std::map<std::string, int32_t>{{"<|startoftext|>", 199998},
                                                                 {"<|return|>", 200002},
                                                                 {"<|constrain|>", 200003},
                                                                 {"<|channel|>", 200005},
                                                                 {"<|start|>", 200006},
                                                                 {"<|end|>", 200007},
                                                                 {"<|message|>", 200008},
                                                                 {"<|call|>", 200012}}) {
      harmony.emplace(name, id);
    }
    return new std::vector<KnownRanks>{
        {"cl100k_base",
         {"cl100k",
          {{"<|endoftext|>", 100257},
           {"<|fim_prefix|>", 100258},
           {"<|fim_middle|>", 100259},
           {"<|fim_suffix|>", 100260},
           {"<|endofprompt|>", 100276}}}},
        {"o200k_base", {"o200k", o200k}},
        {"o200k_harmony", {"o200k", harmony}},
        {"r50k_base", {"gpt2", {{"<|endoftext|>", 50256}}}},
        {"p50k_base", {"gpt2", {{"<|endoftext|>", 50256}}}},
        {"qwen",
         {"qwen2", {{"<|endoftext|>", 151643}, {"<|im_start|>", 151644}, {"<|im_end|>", 151645}}}},
        {"llama3",
         {"llama3",
          {{"<|begin_of_text|>", 128000},
           {"<|end_of_text|>", 128001},
           {"<|finetune_right_pad_id|>", 128004},
           {"<|start_header_id|>", 128006},
           {"<|end_header_id|>", 128007},
           {"<|eot_id|>", 128009}}}},
    };
  }();
  return *known;
}

// Token and rank of a line.
absl::Status ReadLine(std::string_view line, const std::string& where,
                      std::vector<std::string>& bytes) {
  const size_t space = line.find(' ');
  std::string token;
  const absl::string_view base64(line.data(), std::min(space, line.size()));
  if (space == line.npos || !absl::Base64Unescape(base64, &token)) {
    return absl::InvalidArgumentError(StrCat(where, ": not a token in base64, a space and a rank"));
  }
  int32_t rank = -1;
  const char* const end = line.data() + line.size();
  const auto parsed = std::from_chars(line.data() + space + 1, end, rank);
  if (parsed.ec != std::errc() || parsed.ptr != end || rank < 0 || rank >= kMaxTokens) {
    return absl::InvalidArgumentError(
        StrCat(where, ": '", line.substr(space + 1), "' is no rank from 0 to ", kMaxTokens - 1));
  }
  if (token.empty()) return absl::InvalidArgumentError(StrCat(where, ": an empty token"));
  if (static_cast<size_t>(rank) >= bytes.size()) bytes.resize(static_cast<size_t>(rank) + 1);
  if (!bytes[rank].empty()) {
    return absl::InvalidArgumentError(StrCat(where, ": rank ", rank, " was there before"));
  }
  bytes[rank] = std::move(token);
  return absl::OkStatus();
}

}  // namespace

bool LooksLikeRanks(const std::string& content) {
  const std::string_view line = std::string_view(content).substr(0, content.find('\n'));
  std::vector<std::string> bytes;
  if (line.size() > 2 * kMaxTokenBytes) return false;
  return ReadLine(line.ends_with('\r') ? line.substr(0, line.size() - 1) : line, "", bytes).ok();
}

absl::StatusOr<RankSettings> ReadRankSettings(const std::string& text, const std::string& name) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return absl::InvalidArgumentError(StrCat(name, ": not a JSON object"));
  RankSettings settings;
  const auto pattern = json.find("pattern");
  if (pattern != json.end()) {
    if (!pattern->is_string()) {
      return absl::InvalidArgumentError(StrCat(name, ": pattern is no text"));
    }
    settings.pattern = pattern->get<std::string>();
  }
  const auto special = json.find("special_tokens");
  if (special == json.end()) return settings;
  if (!special->is_object()) {
    return absl::InvalidArgumentError(
        StrCat(name, ": special_tokens is no object of names and ids"));
  }
  for (const auto& [token, id] : special->items()) {
    if (!id.is_number_integer() || id < 0 || id >= kMaxTokens) {
      return absl::InvalidArgumentError(
          StrCat(name, ": special_tokens: '", token, "' has no id from 0 to ", kMaxTokens - 1));
    }
    settings.special_tokens.emplace(token, id.get<int32_t>());
  }
  return settings;
}

absl::StatusOr<RankSettings> RankSettingsOfName(const std::string& path) {
  const std::string stem = std::filesystem::path(path).stem().string();
  std::string names;
  for (const KnownRanks& known : AllKnownRanks()) {
    if (stem == known.name) return known.settings;
    names += StrCat(names.empty() ? "" : ", ", known.name);
  }
  return absl::InvalidArgumentError(StrCat(
      path, ": a rank file does not say how text is split; name it after its family (", names,
      ") or put a tokenizer_config.json beside it with \"pattern\" (", PatternFamilyNames(),
      ", or a regular expression) and \"special_tokens\" (names and ids)"));
}

absl::StatusOr<BpeSpec> ReadRanks(const std::string& content, const RankSettings& settings,
                                  const std::string& name) {
  BpeSpec spec;
  spec.name = name;
  std::vector<std::string>& bytes = spec.vocabulary.bytes;
  std::string_view rest = content;
  for (int64_t number = 1; !rest.empty(); ++number) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(rest.size(), end + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    RETURN_IF_ERROR(ReadLine(line, StrCat(name, ":", number), bytes));
  }
  ASSIGN_OR_RETURN(spec.vocabulary.merges, MergesOfRanks(bytes, name));
  spec.vocabulary.whole_pieces = true;
  for (const auto& [token, id] : settings.special_tokens) {
    spec.added.push_back({.id = id, .content = token, .special = true});
  }
  const PatternFamily* const family = FindFamilyByName(settings.pattern);
  if (family != nullptr) {
    ASSIGN_OR_RETURN(spec.splitter, MakeFamilySplitter(family->name));
  } else if (const PatternFamily* same = FindFamily({settings.pattern})) {
    ASSIGN_OR_RETURN(spec.splitter, MakeFamilySplitter(same->name));
  } else {
    absl::StatusOr<std::unique_ptr<Splitter>> splitter =
        MakeRegexSplitter({.regex = settings.pattern});
    if (!splitter.ok()) {
      return absl::InvalidArgumentError(
          StrCat(name, ": pattern is neither ", PatternFamilyNames(),
                 " nor an expression: ", std::string(splitter.status().message())));
    }
    spec.splitter = *std::move(splitter);
  }
  spec.identity = StrCat(settings.pattern, "\n");
  for (const auto& [token, id] : settings.special_tokens) {
    spec.identity += StrCat(id, " ", token, "\n");
  }
  spec.identity += content;
  return spec;
}

}  // namespace choir
