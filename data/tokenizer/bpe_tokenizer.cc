#include "data/tokenizer/bpe_tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "base/check.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/tokenizer/nfc.h"

namespace choir {
namespace {

// Version of what this folder does with a file; part of the fingerprint.
constexpr std::string_view kScheme = "byte-level-bpe-1";

absl::Status CheckAdded(const BpeSpec& spec) {
  for (const AddedToken& token : spec.added) {
    if (token.content.empty()) {
      return absl::InvalidArgumentError(StrCat(spec.name, ": added token ", token.id, " is empty"));
    }
    if (token.id < 0 || token.id >= kMaxTokens) {
      return absl::InvalidArgumentError(StrCat(spec.name, ": added token '", token.content,
                                               "' has id ", token.id, "; ids are 0 to ",
                                               kMaxTokens - 1));
    }
    if (token.content.size() > kMaxTokenBytes) {
      return absl::InvalidArgumentError(StrCat(spec.name, ": added token ", token.id, " has ",
                                               token.content.size(), " bytes; at most ",
                                               kMaxTokenBytes, " are supported"));
    }
  }
  std::unordered_map<std::string_view, int32_t> ids;
  std::unordered_map<int32_t, std::string_view> contents;
  for (const AddedToken& token : spec.added) {
    if (!ids.emplace(token.content, token.id).second ||
        !contents.emplace(token.id, token.content).second) {
      return absl::InvalidArgumentError(
          StrCat(spec.name, ": two added tokens are '", token.content, "' or have id ", token.id));
    }
    const auto id = static_cast<size_t>(token.id);
    const auto& bytes = spec.vocabulary.bytes;
    if (id < bytes.size() && !bytes[id].empty() && bytes[id] != token.content) {
      return absl::InvalidArgumentError(StrCat(spec.name, ": added token '", token.content,
                                               "' has the id of another token, ", token.id));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<BpeTokenizer>> BpeTokenizer::Make(
    BpeSpec spec, const std::vector<SpecialNames>& sources) {
  RETURN_IF_ERROR(CheckAdded(spec));
  std::unordered_map<std::string_view, int32_t> id_of;
  for (size_t id = 0; id < spec.vocabulary.bytes.size(); ++id) {
    if (!spec.vocabulary.bytes[id].empty()) {
      id_of.emplace(spec.vocabulary.bytes[id], static_cast<int32_t>(id));
    }
  }
  for (const AddedToken& token : spec.added) id_of[token.content] = token.id;
  const auto find = [&](const std::string& name) -> std::optional<int32_t> {
    const auto found = id_of.find(name);
    return found == id_of.end() ? std::nullopt : std::optional<int32_t>(found->second);
  };
  ASSIGN_OR_RETURN(const SpecialIds special, ResolveSpecialIds(sources, find, spec.name));
  for (AddedToken& token : spec.added) {
    if (spec.nfc && token.normalized) token.content = ToNfc(token.content);
    token.special |= token.id == special.bos || token.id == special.eos || token.id == special.pad;
  }
  // Text never becomes these.
  std::vector<int32_t> reserved = {special.bos, special.eos, special.pad};
  for (const AddedToken& token : spec.added) {
    if (token.special) reserved.push_back(token.id);
  }
  for (const int32_t id : reserved) {
    if (static_cast<size_t>(id) < spec.vocabulary.bytes.size()) {
      std::string& bytes = spec.vocabulary.bytes[id];
      if (bytes.size() == 1) {
        return absl::InvalidArgumentError(
            StrCat(spec.name, ": token ", id, " is special, but also stands for a byte of text"));
      }
      bytes.clear();
    }
  }
  std::erase_if(spec.vocabulary.merges, [&](const BpeMerge& merge) {
    const auto& bytes = spec.vocabulary.bytes;
    const auto is_reserved = [&](int32_t id) {
      return id >= 0 && static_cast<size_t>(id) < bytes.size() && bytes[id].empty();
    };
    return is_reserved(merge.left) || is_reserved(merge.right) || is_reserved(merge.result);
  });
  ASSIGN_OR_RETURN(BpeModel model, BpeModel::Make(spec.vocabulary, spec.name));
  return std::unique_ptr<BpeTokenizer>(
      new BpeTokenizer(std::move(spec), std::move(model), special));
}

BpeTokenizer::Finders BpeTokenizer::MakeFinders(const std::vector<AddedToken>& tokens) {
  std::vector<AddedToken> raw, normalized;
  for (const AddedToken& token : tokens) (token.normalized ? normalized : raw).push_back(token);
  return {AddedTokenFinder(raw), AddedTokenFinder(normalized)};
}

BpeTokenizer::BpeTokenizer(BpeSpec spec, BpeModel model, SpecialIds special)
    : splitter_(std::move(spec.splitter)),
      encoder_(std::move(model)),
      nfc_(spec.nfc),
      prefix_space_(spec.prefix_space),
      text_tokens_(MakeFinders([&] {
        std::vector<AddedToken> tokens = spec.added;
        std::erase_if(tokens, [](const AddedToken& token) {
          return token.special || token.lstrip || token.rstrip;
        });
        return tokens;
      }())),
      all_tokens_(MakeFinders(spec.added)),
      bytes_(std::move(spec.vocabulary.bytes)),
      added_(std::move(spec.added)),
      special_(special) {
  for (const AddedToken& token : added_) {
    const auto id = static_cast<size_t>(token.id);
    if (id >= bytes_.size()) bytes_.resize(id + 1);
    bytes_[id] = token.special ? "" : token.content;
  }
  fingerprint_ = ToHex(HashOf128(StrCat(kScheme, "\n", splitter_->version(), "\n", special.bos, " ",
                                        special.eos, " ", special.pad, "\n", spec.identity)));
}

void BpeTokenizer::EncodeText(std::string_view text, std::vector<int32_t>& ids) const {
  thread_local std::vector<uint32_t> ends;
  std::string prefixed;
  if (prefix_space_ && !text.empty() && text[0] != ' ') {
    prefixed = StrCat(" ", text);
    text = prefixed;
  }
  ends.clear();
  splitter_->Split(text, ends);
  encoder_.Encode(text, ends, ids);
}

void BpeTokenizer::EncodeSegments(std::string_view text, const Finders& finders,
                                  std::vector<int32_t>& ids) const {
  std::vector<TextSegment> raw;
  finders.raw.Find(text, raw);
  for (const TextSegment& segment : raw) {
    if (segment.id >= 0) {
      ids.push_back(segment.id);
      continue;
    }
    std::string normalized;
    std::string_view rest = segment.text;
    if (nfc_ && !IsSurelyNfc(rest)) {
      normalized = ToNfc(rest);
      rest = normalized;
    }
    if (finders.normalized.empty()) {
      EncodeText(rest, ids);
      continue;
    }
    std::vector<TextSegment> parts;
    finders.normalized.Find(rest, parts);
    for (const TextSegment& part : parts) {
      if (part.id >= 0) {
        ids.push_back(part.id);
      } else {
        EncodeText(part.text, ids);
      }
    }
  }
}

void BpeTokenizer::Encode(std::string_view text, std::vector<int32_t>& ids) const {
  EncodeSegments(text, text_tokens_, ids);
}

void BpeTokenizer::EncodeWithSpecial(std::string_view text, std::vector<int32_t>& ids) const {
  EncodeSegments(text, all_tokens_, ids);
}

int32_t BpeTokenizer::FindId(std::string_view name) const {
  for (const AddedToken& token : added_) {
    if (token.content == name) return token.id;
  }
  return Tokenizer::FindId(name);
}

std::string_view BpeTokenizer::Bytes(int32_t id) const {
  CHECK(id >= 0 && static_cast<size_t>(id) < bytes_.size())
      << "token id " << id << " of a vocabulary of " << bytes_.size();
  return bytes_[id];
}

}  // namespace choir
