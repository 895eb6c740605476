#include "data/tokenizer/bpe_model.h"

#include <algorithm>
#include <bit>
#include <unordered_map>

#include "base/check.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/tokenizer/merge_queue.h"

namespace choir {
namespace {

absl::Status CheckTokens(const std::vector<std::string>& bytes, const std::string& name) {
  if (static_cast<int64_t>(bytes.size()) > kMaxTokens) {
    return absl::InvalidArgumentError(
        StrCat(name, ": ", bytes.size(), " ids; at most ", kMaxTokens, " are supported"));
  }
  for (size_t id = 0; id < bytes.size(); ++id) {
    if (bytes[id].size() <= kMaxTokenBytes) continue;
    return absl::InvalidArgumentError(StrCat(name, ": token ", id, " has ", bytes[id].size(),
                                             " bytes; at most ", kMaxTokenBytes, " are supported"));
  }
  return absl::OkStatus();
}

// The id of each byte.
absl::StatusOr<std::array<int32_t, 256>> FindByteIds(const std::vector<std::string>& bytes,
                                                     const std::string& name) {
  std::array<int32_t, 256> ids;
  ids.fill(-1);
  for (size_t id = 0; id < bytes.size(); ++id) {
    if (bytes[id].size() != 1) continue;
    int32_t& of_byte = ids[static_cast<unsigned char>(bytes[id][0])];
    if (of_byte >= 0) {
      return absl::InvalidArgumentError(
          StrCat(name, ": ids ", of_byte, " and ", id, " are the same byte"));
    }
    of_byte = static_cast<int32_t>(id);
  }
  for (int byte = 0; byte < 256; ++byte) {
    if (ids[byte] >= 0) continue;
    return absl::InvalidArgumentError(
        StrCat(name, ": byte ", byte,
               " has no token, so text with it would be lost; a byte-level "
               "vocabulary has all 256"));
  }
  return ids;
}

// A merge of the vocabulary, by its pair of ids: rank and result.
struct Pair {
  int32_t rank, result;
};
using Pairs = std::unordered_map<uint64_t, Pair>;
uint64_t KeyOf(int32_t left, int32_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
}

absl::StatusOr<Pairs> ReadPairs(const BpeVocabulary& vocabulary, const std::string& name) {
  const auto size = static_cast<int32_t>(vocabulary.bytes.size());
  Pairs pairs;
  pairs.reserve(vocabulary.merges.size() * 2);
  int32_t rank = 0;
  for (const auto& [left, right, result] : vocabulary.merges) {
    const bool known =
        left >= 0 && right >= 0 && result >= 0 && left < size && right < size && result < size;
    if (!known || vocabulary.bytes[left].empty() || vocabulary.bytes[right].empty() ||
        vocabulary.bytes[left] + vocabulary.bytes[right] != vocabulary.bytes[result]) {
      return absl::InvalidArgumentError(
          StrCat(name, ": merge ", rank, " (", left, " ", right, ") does not make token ", result));
    }
    // The later of two equal merges counts for the libraries that read such files, too.
    pairs[KeyOf(left, right)] = {rank, result};
    ++rank;
  }
  return pairs;
}

// A token that merging makes, and how.
struct Made {
  int32_t rank, left, right, id;
};

// Merges a token's own bytes. True if they become the token; `made` is then its last merge.
bool MergeToken(int32_t id, const std::string& bytes, const Pairs& pairs,
                const std::array<int32_t, 256>& byte_ids, Made& made) {
  std::vector<int32_t> parts;
  for (const char c : bytes) parts.push_back(byte_ids[static_cast<unsigned char>(c)]);
  MergeInOrder(
      parts,
      [&](int32_t left, int32_t right) {
        const auto pair = pairs.find(KeyOf(left, right));
        return pair == pairs.end() ? -1 : pair->second.rank;
      },
      [&](int32_t left, int32_t right, int32_t) {
        return pairs.find(KeyOf(left, right))->second.result;
      },
      [&](int32_t left, int32_t right, int32_t rank) {
        made = {rank, left, right, id};
      });
  return parts.size() == 1 && parts[0] == id;
}

}  // namespace

void PairTable::Reserve(size_t pairs) {
  const size_t size = std::bit_ceil(std::max<size_t>(pairs, 1) * 2);
  slots_.assign(size, kEmpty);
  mask_ = size - 1;
  shift_ = 64 - std::countr_zero(size);
}

bool PairTable::Insert(int32_t left, int32_t right, int32_t result) {
  const uint64_t key = KeyOf(left, right);
  size_t i = SlotOf(key);
  for (; slots_[i] != kEmpty; i = (i + 1) & mask_) {
    if (slots_[i] >> kCodeBits == key) return false;
  }
  slots_[i] = key << kCodeBits | static_cast<uint64_t>(result);
  return true;
}

absl::StatusOr<BpeModel> BpeModel::Make(const BpeVocabulary& vocabulary, const std::string& name) {
  RETURN_IF_ERROR(CheckTokens(vocabulary.bytes, name));
  ASSIGN_OR_RETURN(const auto byte_ids, FindByteIds(vocabulary.bytes, name));
  ASSIGN_OR_RETURN(const Pairs pairs, ReadPairs(vocabulary, name));
  BpeModel model;
  std::vector<int32_t> code_of(vocabulary.bytes.size(), -1);
  for (int byte = 0; byte < 256; ++byte) {
    code_of[byte_ids[byte]] = byte;
    model.ids.push_back(byte_ids[byte]);
    model.parts.emplace_back(byte, byte);
    model.bytes.emplace_back(1, static_cast<char>(byte));
  }
  std::vector<bool> has_merge(vocabulary.bytes.size());
  for (const BpeMerge& merge : vocabulary.merges) has_merge[merge.result] = true;
  std::vector<Made> all;
  for (size_t i = 0; i < vocabulary.bytes.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    if (vocabulary.bytes[i].size() < 2) continue;
    Made made;
    if (has_merge[i] && MergeToken(id, vocabulary.bytes[i], pairs, byte_ids, made)) {
      all.push_back(made);
    } else if (vocabulary.whole_pieces) {
      model.whole.emplace_back(vocabulary.bytes[i], id);
    }
  }
  std::sort(all.begin(), all.end(), [](const Made& a, const Made& b) { return a.rank < b.rank; });
  for (const Made& made : all) {
    code_of[made.id] = static_cast<int32_t>(model.ids.size());
    model.ids.push_back(made.id);
    model.bytes.push_back(vocabulary.bytes[made.id]);
  }
  model.pairs.Reserve(all.size());
  for (const Made& made : all) {
    const int32_t left = code_of[made.left], right = code_of[made.right], code = code_of[made.id];
    CHECK(left >= 0 && right >= 0) << "a part of a made token is made, too";
    model.parts.emplace_back(left, right);
    CHECK(model.pairs.Insert(left, right, code)) << "two tokens of the same parts";
    model.monotone = model.monotone && left < code && right < code;
  }
  return model;
}

void BpeModel::Merge(std::string_view piece, std::vector<int32_t>& codes) const {
  codes.clear();
  for (const char c : piece) codes.push_back(static_cast<unsigned char>(c));
  MergeInOrder(
      codes, [&](int32_t left, int32_t right) { return pairs.Find(left, right); },
      [](int32_t, int32_t, int32_t code) { return code; }, [](int32_t, int32_t, int32_t) {});
}

absl::StatusOr<std::vector<BpeMerge>> MergesOfRanks(const std::vector<std::string>& bytes,
                                                    const std::string& name) {
  RETURN_IF_ERROR(CheckTokens(bytes, name));
  std::unordered_map<std::string_view, int32_t> ranks;
  ranks.reserve(bytes.size() * 2);
  for (size_t rank = 0; rank < bytes.size(); ++rank) {
    if (bytes[rank].empty()) continue;
    const auto [old, is_new] = ranks.emplace(bytes[rank], static_cast<int32_t>(rank));
    if (!is_new) {
      return absl::InvalidArgumentError(
          StrCat(name, ": ranks ", old->second, " and ", rank, " are the same token"));
    }
  }
  std::vector<BpeMerge> merges;
  std::vector<std::string_view> parts;
  for (size_t rank = 0; rank < bytes.size(); ++rank) {
    const std::string_view token = bytes[rank];
    if (token.size() < 2) continue;
    parts.clear();
    for (size_t i = 0; i < token.size(); ++i) parts.push_back(token.substr(i, 1));
    std::string_view left, right;
    const auto join = [](std::string_view a, std::string_view b) {
      return std::string_view(a.data(), a.size() + b.size());
    };
    MergeInOrder(
        parts,
        [&](std::string_view a, std::string_view b) {
          const auto found = ranks.find(join(a, b));
          return found == ranks.end() ? -1 : found->second;
        },
        [&](std::string_view a, std::string_view b, int32_t) { return join(a, b); },
        [&](std::string_view a, std::string_view b, int32_t) { left = a, right = b; });
    if (parts.size() != 1) continue;
    const auto l = ranks.find(left), r = ranks.find(right);
    if (l == ranks.end() || r == ranks.end()) continue;  // a byte without a token: refused later
    merges.push_back({l->second, r->second, static_cast<int32_t>(rank)});
  }
  return merges;
}

}  // namespace choir
