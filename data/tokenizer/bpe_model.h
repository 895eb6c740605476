// Byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909, on bytes as in GPT-2): a piece starts
// as its bytes; of all neighbours that a merge joins, those of the earliest merge, leftmost first,
// are joined, until none is left.
//
// Inside, tokens have codes: 0..255 are the bytes, 256 and up the tokens that merging can make, in
// the order of their merges. Of several merges that make the same token one at most is ever used:
// while a token's bytes are merged, what stands left and right of them plays no part, so the last
// step is the same in every text. So each code has one left and one right part, and the code is
// also the rank. Tokens that merging never makes have no code.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace choir {

struct BpeMerge {
  int32_t left, right, result;  // ids
};

struct BpeVocabulary {
  std::vector<std::string> bytes;  // by id; empty: no token, or one that text never becomes
  std::vector<BpeMerge> merges;    // the earliest first
  bool whole_pieces = false;       // a piece that is a token becomes that token, merges or not
};

inline constexpr int64_t kMaxTokens = int64_t{1} << 21;
inline constexpr size_t kMaxTokenBytes = 4096;

// Neighbours to the code of what they are merged into.
class PairTable {
 public:
  static constexpr int32_t kNone = -1;

  void Reserve(size_t pairs);
  // At most as many as reserved; false, and nothing is changed, if the pair is there.
  bool Insert(int32_t left, int32_t right, int32_t result);
  int32_t Find(int32_t left, int32_t right) const {
    const uint64_t key = KeyOf(left, right);
    for (size_t i = SlotOf(key);; i = (i + 1) & mask_) {
      const uint64_t slot = slots_[i];
      if (slot >> kCodeBits == key) return static_cast<int32_t>(slot & kCodeMask);
      if (slot == kEmpty) return kNone;
    }
  }

 private:
  static constexpr int kCodeBits = 21;
  static constexpr uint64_t kCodeMask = (uint64_t{1} << kCodeBits) - 1;
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  static uint64_t KeyOf(int32_t left, int32_t right) {
    return static_cast<uint64_t>(left) << kCodeBits | static_cast<uint64_t>(right);
  }
  size_t SlotOf(uint64_t key) const { return (key * 0x9E3779B97F4A7C15) >> shift_; }

  std::vector<uint64_t> slots_ = std::vector<uint64_t>(1, kEmpty);
  size_t mask_ = 0;
  int shift_ = 63;
};

// The merges of a vocabulary of ids, as they were given.
struct BpeModel {
  // `name` is what errors call the vocabulary. Refused: a byte without a token, a merge whose
  // result is not its parts in a row, too many or too long tokens.
  static absl::StatusOr<BpeModel> Make(const BpeVocabulary& vocabulary, const std::string& name);

  // Replaces `codes` by the codes of `piece`, by doing the merges one after the other: the twin of
  // BpeEncoder and its fallback. O(n log n).
  void Merge(std::string_view piece, std::vector<int32_t>& codes) const;

  int32_t num_codes() const { return static_cast<int32_t>(ids.size()); }

  std::vector<int32_t> ids;                            // by code
  std::vector<std::pair<int32_t, int32_t>> parts;      // by code; bytes have themselves twice
  std::vector<std::string> bytes;                      // by code
  PairTable pairs;                                     // codes
  std::vector<std::pair<std::string, int32_t>> whole;  // tokens without code that are whole pieces
  // Whether every code is above those of its parts, as in all vocabularies that were trained.
  bool monotone = true;
};

// The merges of a vocabulary that is given by its tokens alone, as tiktoken's are: neighbours whose
// bytes together are a token are merged, the token of the lowest rank first. `bytes` by rank.
absl::StatusOr<std::vector<BpeMerge>> MergesOfRanks(const std::vector<std::string>& bytes,
                                                    const std::string& name);

}  // namespace choir
