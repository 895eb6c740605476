#include "data/tokenizer/hugging_face_steps.h"

#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "data/tokenizer/regex_splitter.h"

namespace choir {
namespace {

constexpr int kMaxSteps = 64;

absl::Status Refuse(const BpeSpec& spec, const std::string& what) {
  return absl::InvalidArgumentError(StrCat(spec.name, ": ", what));
}

// The steps of a sequence of sequences, in order.
absl::Status Flatten(const nlohmann::json& json, const char* members, int depth,
                     std::vector<const nlohmann::json*>& steps) {
  if (json.is_null()) return absl::OkStatus();
  const nlohmann::json& list = MemberOf(json, members);
  const bool sequence = TextOf(json, "type") == "Sequence";
  if (!json.is_object() || (sequence && !list.is_array())) {
    return absl::InvalidArgumentError(StrCat("a step that is no object, or no list of ", members));
  }
  if (!sequence) {
    steps.push_back(&json);
    if (steps.size() <= kMaxSteps) return absl::OkStatus();
  }
  if (depth > 8 || steps.size() > kMaxSteps) {
    return absl::InvalidArgumentError(StrCat("more than ", kMaxSteps, " steps, or too deep"));
  }
  for (const nlohmann::json& step : list) RETURN_IF_ERROR(Flatten(step, members, depth + 1, steps));
  return absl::OkStatus();
}

// Whether there is a {1,3}+ or the like.
bool HasPossessiveInterval(const std::string& regex) {
  for (size_t close = 0; (close = regex.find("}+", close)) != regex.npos; ++close) {
    const size_t open = regex.find_last_not_of("0123456789,", close - (close > 0));
    if (close > 0 && open != regex.npos && regex[open] == '{') return true;
  }
  return false;
}

absl::StatusOr<SplitRule> ReadSplit(const nlohmann::json& step) {
  SplitRule rule;
  const nlohmann::json& pattern = MemberOf(step, "pattern");
  rule.regex = TextOf(pattern, "Regex");
  rule.literal = TextOf(pattern, "String");
  if (rule.regex.empty() == rule.literal.empty()) {
    return absl::InvalidArgumentError("Split needs a pattern: a Regex or a String");
  }
  if (HasPossessiveInterval(rule.regex)) {
    return absl::InvalidArgumentError(StrCat(
        "Split by ", rule.regex,
        ": an interval with + repeats in Oniguruma and does not give back in other libraries; "
        "write it without +"));
  }
  rule.invert = FlagOf(step, "invert", false);
  const std::string behavior = TextOf(step, "behavior");
  if (behavior == "Isolated") {
    rule.behavior = SplitBehavior::kIsolated;
  } else if (behavior == "Contiguous") {
    rule.behavior = SplitBehavior::kContiguous;
  } else if (behavior == "MergedWithPrevious") {
    rule.behavior = SplitBehavior::kMergedWithPrevious;
  } else if (behavior == "MergedWithNext") {
    rule.behavior = SplitBehavior::kMergedWithNext;
  } else if (behavior == "Removed" && rule.invert) {
    // The matches are kept; what lies between them is kept here, too.
    rule.invert = false;
  } else {
    return absl::InvalidArgumentError(StrCat("Split with behavior '", behavior, "'",
                                             behavior == "Removed" ? ", which loses text," : "",
                                             " is not supported"));
  }
  return rule;
}

absl::StatusOr<SplitRule> ReadStep(const nlohmann::json& step) {
  const std::string type = TextOf(step, "type");
  if (type == "Split") return ReadSplit(step);
  if (type == "Digits") {
    SplitRule rule;
    rule.regex = FlagOf(step, "individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)";
    return rule;
  }
  if (type == "ByteLevel") {
    SplitRule rule;
    rule.regex = FindFamilyByName("gpt2")->regexes[0];
    return rule;
  }
  return absl::InvalidArgumentError(StrCat(
      "pre_tokenizer ", type, " is not supported: Split, Digits, ByteLevel and Sequence are",
      type == "Metaspace" ? "; use the SentencePiece model that the file was made from" : ""));
}

absl::StatusOr<std::unique_ptr<Splitter>> MakeSplitter(const std::vector<SplitRule>& rules) {
  std::vector<std::string> regexes;
  bool isolated = true;
  for (const SplitRule& rule : rules) {
    isolated = isolated && rule.behavior == SplitBehavior::kIsolated && !rule.invert;
    regexes.push_back(rule.regex);
  }
  if (isolated) {
    if (const PatternFamily* family = FindFamily(regexes)) return MakeFamilySplitter(family->name);
  }
  if (rules.size() == 1) return MakeRegexSplitter(rules[0]);
  std::vector<std::unique_ptr<Splitter>> steps;
  for (const SplitRule& rule : rules) {
    ASSIGN_OR_RETURN(steps.emplace_back(), MakeSplitter({rule}));
  }
  return MakeSplitSequence(std::move(steps));
}

}  // namespace

const nlohmann::json& MemberOf(const nlohmann::json& json, const char* key) {
  static const nlohmann::json null;
  if (!json.is_object()) return null;
  const auto found = json.find(key);
  return found == json.end() ? null : *found;
}

bool FlagOf(const nlohmann::json& json, const char* key, bool missing) {
  const nlohmann::json& member = MemberOf(json, key);
  return member.is_boolean() ? member.get<bool>() : missing;
}

std::string TextOf(const nlohmann::json& json, const char* key) {
  const nlohmann::json& member = MemberOf(json, key);
  return member.is_string() ? member.get<std::string>() : "";
}

absl::Status ReadNormalizer(const nlohmann::json& json, BpeSpec& spec) {
  std::vector<const nlohmann::json*> steps;
  const absl::Status status = Flatten(json, "normalizers", 0, steps);
  if (!status.ok()) return Refuse(spec, StrCat("normalizer: ", std::string(status.message())));
  for (const nlohmann::json* step : steps) {
    const std::string type = TextOf(*step, "type");
    if (type != "NFC") {
      return Refuse(spec, StrCat("normalizer ", type, " is not supported: only NFC is"));
    }
    spec.nfc = true;
  }
  return absl::OkStatus();
}

absl::Status ReadPreTokenizer(const nlohmann::json& json, BpeSpec& spec) {
  std::vector<const nlohmann::json*> steps;
  const absl::Status status = Flatten(json, "pretokenizers", 0, steps);
  if (!status.ok()) return Refuse(spec, StrCat("pre_tokenizer: ", std::string(status.message())));
  std::vector<SplitRule> rules;
  bool byte_level = false;
  for (const nlohmann::json* step : steps) {
    if (byte_level) return Refuse(spec, "pre_tokenizer: ByteLevel must be the last step");
    absl::StatusOr<SplitRule> rule = ReadStep(*step);
    if (!rule.ok()) return Refuse(spec, std::string(rule.status().message()));
    byte_level = TextOf(*step, "type") == "ByteLevel";
    if (byte_level && FlagOf(*step, "add_prefix_space", true)) {
      if (!rules.empty()) {
        return Refuse(spec, "pre_tokenizer: ByteLevel with add_prefix_space after another step");
      }
      spec.prefix_space = true;
    }
    if (!byte_level || FlagOf(*step, "use_regex", true)) rules.push_back(*std::move(rule));
  }
  if (!byte_level) {
    return Refuse(spec, "no ByteLevel pre_tokenizer, so its model is not byte-level");
  }
  if (rules.empty()) {
    // The whole text is one piece.
    rules.push_back({.regex = R"((?s:.+))"});
  }
  absl::StatusOr<std::unique_ptr<Splitter>> splitter = MakeSplitter(rules);
  if (!splitter.ok()) {
    return Refuse(spec, StrCat("pre_tokenizer: ", std::string(splitter.status().message())));
  }
  spec.splitter = *std::move(splitter);
  return absl::OkStatus();
}

}  // namespace choir
