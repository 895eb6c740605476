#include "data/tokenizer/special_tokens.h"

#include <nlohmann/json.hpp>

#include "base/status.h"
#include "base/strings.h"

namespace choir {
namespace {

using Field = std::string SpecialNames::*;

struct Role {
  Field field;
  const char* key;  // in the files of Hugging Face
  std::vector<const char*> common;
};

const std::vector<Role>& Roles() {
  static const auto* const roles = new std::vector<Role>{
      {&SpecialNames::eos,
       "eos_token",
       {"<|endoftext|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>", "</s>", "<eos>"}},
      {&SpecialNames::bos,
       "bos_token",
       {"<|begin_of_text|>", "<|startoftext|>", "<｜begin▁of▁sentence｜>", "<s>", "<bos>"}},
      {&SpecialNames::pad,
       "pad_token",
       {"<|pad|>", "<pad>", "<｜▁pad▁｜>", "<|finetune_right_pad_id|>", "[PAD]"}},
  };
  return *roles;
}

}  // namespace

absl::StatusOr<SpecialNames> ReadSpecialNames(const std::string& text, const std::string& name) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return absl::InvalidArgumentError(StrCat(name, ": not a JSON object"));
  SpecialNames names;
  for (const Role& role : Roles()) {
    const auto found = json.find(role.key);
    if (found == json.end() || found->is_null()) continue;
    const nlohmann::json content =
        found->is_object() ? found->value("content", nlohmann::json()) : *found;
    if (!content.is_string()) {
      return absl::InvalidArgumentError(
          StrCat(name, ": ", role.key, " is neither text nor an object with content"));
    }
    names.*role.field = content.get<std::string>();
  }
  return names;
}

absl::StatusOr<SpecialIds> ResolveSpecialIds(
    const std::vector<SpecialNames>& sources,
    const std::function<std::optional<int32_t>(const std::string&)>& id_of,
    const std::string& name) {
  std::vector<int32_t> ids;  // as Roles
  for (const Role& role : Roles()) {
    int32_t id = -1;
    for (const SpecialNames& source : sources) {
      const std::string& wanted = source.*role.field;
      if (wanted.empty()) continue;
      const std::optional<int32_t> found = id_of(wanted);
      if (!found) {
        return absl::InvalidArgumentError(
            StrCat(name, ": its ", role.key, " '", wanted,
                   "' is no token of it; correct the name in "
                   "tokenizer_config.json or special_tokens_map.json"));
      }
      id = *found;
      break;
    }
    for (size_t i = 0; id < 0 && i < role.common.size(); ++i) {
      id = id_of(role.common[i]).value_or(-1);
    }
    if (id < 0 && !ids.empty()) id = ids[0];
    if (id < 0) {
      return absl::InvalidArgumentError(
          StrCat(name,
                 ": no token ends a text: neither tokenizer_config.json beside it nor a common "
                 "name says which; name one there, as eos_token"));
    }
    ids.push_back(id);
  }
  return SpecialIds{.bos = ids[1], .eos = ids[0], .pad = ids[2]};
}

}  // namespace choir
