#include "data/order/augment.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "base/hash.h"
#include "base/random.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/text/utf8.h"

namespace choir {
namespace {

// Places in the stream of random numbers of a document and epoch.
constexpr uint64_t kFimIndex = 0;
constexpr uint64_t kSpmIndex = 1;
constexpr uint64_t kFirstCutIndex = 2;
constexpr uint64_t kSecondCutIndex = 3;
constexpr uint64_t kTokenIndex = 4;  // + place of the token

// Punctuation of scripts beyond ASCII, as pairs of first and last.
constexpr std::pair<uint32_t, uint32_t> kPunctuation[] = {
    {0xA1, 0xA1},     {0xA7, 0xA7},     {0xAB, 0xAB},     {0xB6, 0xB7},     {0xBB, 0xBB},
    {0xBF, 0xBF},     {0x37E, 0x37E},   {0x387, 0x387},   {0x589, 0x589},   {0x5BE, 0x5BE},
    {0x5F3, 0x5F4},   {0x60C, 0x60D},   {0x61B, 0x61B},   {0x61D, 0x61F},   {0x6D4, 0x6D4},
    {0x964, 0x965},   {0xE4F, 0xE4F},   {0xE5A, 0xE5B},   {0x2010, 0x2027}, {0x2030, 0x205E},
    {0x3001, 0x3003}, {0x3008, 0x3011}, {0x3014, 0x301F}, {0x30FB, 0x30FB}, {0xFF01, 0xFF0F},
    {0xFF1A, 0xFF20}, {0xFF3B, 0xFF40}, {0xFF5B, 0xFF65}};

// Whether text holds punctuation and nothing else but spaces.
bool IsPunctuation(std::string_view text) {
  bool any = false;
  for (size_t at = 0; at < text.size();) {
    const auto lead = static_cast<unsigned char>(text[at]);
    if (lead < 0x80) {
      const bool alphanumeric = (lead >= '0' && lead <= '9') || (lead >= 'A' && lead <= 'Z') ||
                                (lead >= 'a' && lead <= 'z');
      if (alphanumeric || lead < ' ' || lead == 0x7F) return false;
      any |= lead != ' ';
      ++at;
      continue;
    }
    const size_t length = Utf8Length(text.substr(at));
    if (length == 0) return false;
    uint32_t code = lead & (0x7F >> length);
    for (size_t i = 1; i < length; ++i) {
      code = code << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3F);
    }
    const auto holds = [&](const auto& range) {
      return range.first <= code && code <= range.second;
    };
    if (std::ranges::none_of(kPunctuation, holds)) return false;
    any = true;
    at += length;
  }
  return any;
}

// The token that a text becomes, if it is one.
std::optional<int32_t> OneToken(const Tokenizer& tokenizer, std::string_view text) {
  const std::vector<int32_t> ids = tokenizer.Encode(text);
  if (ids.size() != 1) return std::nullopt;
  return ids[0];
}

absl::StatusOr<int32_t> NamedToken(const Tokenizer& tokenizer, const char* key,
                                   const std::string& name) {
  const int32_t id = tokenizer.FindId(name);
  if (id >= 0) return id;
  return absl::InvalidArgumentError(
      StrCat("data.packing.", key, ": the tokenizer of the corpus has no token named '", name,
             "', which data.packing.fim_rate above 0 needs; name one that it has, build the corpus "
             "with a tokenizer that has it, or set data.packing.fim_rate to 0"));
}

}  // namespace

void DocumentView::CopyTo(int64_t first, int64_t count, int32_t* out) const {
  if (changed_) {
    std::copy_n(tokens_.begin() + first, count, out);
  } else if (document_.wide) {
    std::copy_n(static_cast<const uint32_t*>(document_.tokens) + first, count, out);
  } else {
    std::copy_n(static_cast<const uint16_t*>(document_.tokens) + first, count, out);
  }
}

absl::StatusOr<Augmenter> Augmenter::Make(const PackingConfig& config, const Tokenizer& tokenizer,
                                          uint64_t seed) {
  Augmenter augmenter;
  augmenter.active_ = IsWanted(config);
  augmenter.config_ = config;
  augmenter.seed_ = seed;
  if (config.fim_rate > 0) {
    ASSIGN_OR_RETURN(augmenter.prefix_id_, NamedToken(tokenizer, "fim_prefix", config.fim_prefix));
    ASSIGN_OR_RETURN(augmenter.middle_id_, NamedToken(tokenizer, "fim_middle", config.fim_middle));
    ASSIGN_OR_RETURN(augmenter.suffix_id_, NamedToken(tokenizer, "fim_suffix", config.fim_suffix));
  }
  if (config.split_punctuation > 0) RETURN_IF_ERROR(augmenter.FindSplits(tokenizer));
  return augmenter;
}

absl::Status Augmenter::FindSplits(const Tokenizer& tokenizer) {
  splits_.resize(static_cast<size_t>(tokenizer.vocab_size()));
  bool any = false;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string_view text = tokenizer.Bytes(id);
    const size_t cut = text.find_first_of("\r\n");
    if (cut == text.npos || text.find_first_not_of("\r\n", cut) != text.npos) continue;
    if (!IsPunctuation(text.substr(0, cut))) continue;
    const std::optional<int32_t> first = OneToken(tokenizer, text.substr(0, cut));
    const std::optional<int32_t> second = OneToken(tokenizer, text.substr(cut));
    if (!first.has_value() || !second.has_value()) continue;
    splits_[id] = {*first, *second};
    any = true;
  }
  if (any) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "data.packing.split_punctuation: the tokenizer of the corpus has no token of punctuation and "
      "line breaks together, so there is nothing to split; set it to 0");
}

DocumentView Augmenter::Augment(const TokenDocument& document, int64_t epoch) const {
  if (!active_) return DocumentView(document);
  const CounterRandom random(seed_, StrCat("augment/", ToHex(document.id)),
                             static_cast<uint64_t>(epoch));
  const bool fim = random.Uniform(kFimIndex) < config_.fim_rate;
  if (!fim && splits_.empty()) return DocumentView(document);
  std::vector<int32_t> tokens;
  tokens.reserve(static_cast<size_t>(document.length) + 3);
  for (int64_t i = 0; i < document.length; ++i) {
    const int32_t token = document.token(i);
    const Split split = splits_.empty() ? Split() : splits_.at(token);
    if (split.punctuation >= 0 &&
        random.Uniform(kTokenIndex + static_cast<uint64_t>(i)) < config_.split_punctuation) {
      tokens.push_back(split.punctuation);
      tokens.push_back(split.line_breaks);
    } else {
      tokens.push_back(token);
    }
  }
  if (!fim) return DocumentView(std::move(tokens));
  // Two places between the tokens of the text, which beginning and end enclose.
  const auto begin = tokens.begin() + 1, end = tokens.end() - 1;
  const auto places = static_cast<uint64_t>(end - begin) + 1;
  auto first = begin + static_cast<ptrdiff_t>(random.Below(kFirstCutIndex, places));
  auto second = begin + static_cast<ptrdiff_t>(random.Below(kSecondCutIndex, places));
  if (second < first) std::swap(first, second);
  const bool spm = random.Uniform(kSpmIndex) < config_.fim_spm_rate;
  std::vector<int32_t> out;
  out.reserve(tokens.size() + 3);
  out.push_back(tokens.front());
  out.push_back(prefix_id_);
  if (!spm) out.insert(out.end(), begin, first);
  out.push_back(suffix_id_);
  out.insert(out.end(), second, end);
  out.push_back(middle_id_);
  if (spm) out.insert(out.end(), begin, first);
  out.insert(out.end(), first, second);
  out.push_back(tokens.back());
  return DocumentView(std::move(out));
}

}  // namespace choir
