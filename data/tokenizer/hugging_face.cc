#include "data/tokenizer/hugging_face.h"

#include <array>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/status.h"
#include "base/strings.h"
#include "data/tokenizer/hugging_face_steps.h"

namespace choir {
namespace {

using Json = nlohmann::json;

// The bytes that a token of the vocabulary stands for; its own bytes if it is not spelt in the
// characters of ByteLevelCharacter.
std::string BytesOf(const std::string& token) {
  static const auto* const bytes = [] {
    auto* const map = new std::unordered_map<std::string, char>;
    for (int byte = 0; byte < 256; ++byte) {
      map->emplace(ByteLevelCharacter(static_cast<unsigned char>(byte)), static_cast<char>(byte));
    }
    return map;
  }();
  std::string out;
  for (size_t i = 0; i < token.size();) {
    const size_t length = static_cast<unsigned char>(token[i]) < 0x80 ? 1 : 2;
    const auto found = bytes->find(token.substr(i, length));
    if (found == bytes->end()) return token;
    out += found->second;
    i += length;
  }
  return out;
}

absl::Status Refuse(const BpeSpec& spec, const std::string& what) {
  return absl::InvalidArgumentError(StrCat(spec.name, ": ", what));
}

absl::StatusOr<int32_t> IdOf(const BpeSpec& spec, const std::string& token, const Json& id) {
  if (!id.is_number_integer() || id < 0 || id >= kMaxTokens) {
    return Refuse(spec, StrCat("token '", token, "' has no id from 0 to ", kMaxTokens - 1));
  }
  return id.get<int32_t>();
}

using Ids = std::unordered_map<std::string, int32_t>;

absl::StatusOr<Ids> ReadVocabulary(const Json& vocab, BpeSpec& spec) {
  if (!vocab.is_object()) return Refuse(spec, "model.vocab is no object");
  Ids ids;
  ids.reserve(vocab.size() * 2);
  std::vector<std::string>& bytes = spec.vocabulary.bytes;
  for (const auto& [token, value] : vocab.items()) {
    ASSIGN_OR_RETURN(const int32_t id, IdOf(spec, token, value));
    if (token.empty()) return Refuse(spec, StrCat("token ", id, " is empty"));
    if (static_cast<size_t>(id) >= bytes.size()) bytes.resize(static_cast<size_t>(id) + 1);
    if (!bytes[id].empty()) return Refuse(spec, StrCat("two tokens have id ", id));
    bytes[id] = BytesOf(token);
    ids.emplace(token, id);
  }
  return ids;
}

absl::Status AddMerge(const Json& merge, const Ids& ids, BpeSpec& spec) {
  std::string left, right;
  if (merge.is_string()) {
    const std::string text = merge.get<std::string>();
    const size_t space = text.find(' ');
    if (space != text.npos && text.find(' ', space + 1) == text.npos) {
      left = text.substr(0, space);
      right = text.substr(space + 1);
    }
  } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
             merge[1].is_string()) {
    left = merge[0].get<std::string>();
    right = merge[1].get<std::string>();
  }
  const size_t number = spec.vocabulary.merges.size();
  if (left.empty() || right.empty()) {
    return Refuse(spec, StrCat("merge ", number, " is neither \"a b\" nor [\"a\", \"b\"]"));
  }
  const auto l = ids.find(left), r = ids.find(right), both = ids.find(left + right);
  if (l == ids.end() || r == ids.end() || both == ids.end()) {
    return Refuse(spec, StrCat("merge ", number, " (", left, " ", right,
                               ") is of, or makes, a token that is not in model.vocab"));
  }
  spec.vocabulary.merges.push_back({l->second, r->second, both->second});
  return absl::OkStatus();
}

absl::Status ReadModel(const Json& model, BpeSpec& spec) {
  const std::string type = TextOf(model, "type");
  if (!type.empty() && type != "BPE") {
    return Refuse(spec, StrCat("model ", type, " is not supported: only BPE is"));
  }
  const Json& dropout = MemberOf(model, "dropout");
  if (dropout.is_number() && dropout != 0) {
    return Refuse(spec, "model.dropout must be 0: encoding is a function of the text");
  }
  for (const char* const key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!TextOf(model, key).empty())
      return Refuse(spec, StrCat("model.", key, " is not supported"));
  }
  ASSIGN_OR_RETURN(const Ids ids, ReadVocabulary(MemberOf(model, "vocab"), spec));
  const Json& merges = MemberOf(model, "merges");
  if (!merges.is_array()) return Refuse(spec, "model.merges is no list");
  for (const Json& merge : merges) RETURN_IF_ERROR(AddMerge(merge, ids, spec));
  spec.vocabulary.whole_pieces = FlagOf(model, "ignore_merges", false);
  return absl::OkStatus();
}

absl::Status ReadAddedTokens(const Json& list, BpeSpec& spec) {
  if (list.is_null()) return absl::OkStatus();
  if (!list.is_array()) return Refuse(spec, "added_tokens is no list");
  for (const Json& json : list) {
    AddedToken token;
    token.content = TextOf(json, "content");
    ASSIGN_OR_RETURN(token.id, IdOf(spec, token.content, MemberOf(json, "id")));
    token.special = FlagOf(json, "special", false);
    token.lstrip = FlagOf(json, "lstrip", false);
    token.rstrip = FlagOf(json, "rstrip", false);
    token.single_word = FlagOf(json, "single_word", false);
    token.normalized = FlagOf(json, "normalized", !token.special);
    // In the vocabulary it stands for its own characters, not for bytes.
    const auto id = static_cast<size_t>(token.id);
    if (id < spec.vocabulary.bytes.size() && BytesOf(token.content) == spec.vocabulary.bytes[id]) {
      spec.vocabulary.bytes[id] = token.content;
    }
    spec.added.push_back(std::move(token));
  }
  return absl::OkStatus();
}

}  // namespace

std::string ByteLevelCharacter(unsigned char byte) {
  const auto is_printable = [](int b) {
    return (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
  };
  int code = byte;
  if (!is_printable(byte)) {
    code = 0x100;
    for (int before = 0; before < byte; ++before) code += is_printable(before) ? 0 : 1;
  }
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
}

absl::StatusOr<BpeSpec> ReadHuggingFace(const std::string& text, const std::string& name) {
  BpeSpec spec;
  spec.name = name;
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return Refuse(spec, "not a JSON object");
  if (!json.contains("model")) return Refuse(spec, "no tokenizer.json: it has no model");
  RETURN_IF_ERROR(ReadNormalizer(MemberOf(json, "normalizer"), spec));
  RETURN_IF_ERROR(ReadPreTokenizer(MemberOf(json, "pre_tokenizer"), spec));
  RETURN_IF_ERROR(ReadModel(MemberOf(json, "model"), spec));
  RETURN_IF_ERROR(ReadAddedTokens(MemberOf(json, "added_tokens"), spec));
  spec.identity = text;
  return spec;
}

}  // namespace choir
