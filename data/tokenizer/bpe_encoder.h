// BPE without merging: the encoding of a piece is found left to right, by the longest token that
// may stand after the one before, with a step back where none may. Whether two tokens may stand
// side by side depends on them alone: their bytes, merged together, must give the two again. The
// result is that of the merges (van Antwerpen and Neubeck 2024, "So many tokens, so little time:
// introducing a faster, more flexible byte-pair tokenizer"), in time linear in the piece.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/tokenizer/bpe_model.h"
#include "data/tokenizer/token_trie.h"

namespace choir {

class BpeEncoder {
 public:
  explicit BpeEncoder(BpeModel model);

  // Appends the ids of pieces: piece i ends at ends[i]. Safe from several threads; each keeps short
  // pieces that it has seen (2 MiB).
  void Encode(std::string_view text, const std::vector<uint32_t>& ends,
              std::vector<int32_t>& ids) const;

 private:
  struct Cache;
  struct Scratch {
    std::vector<int32_t> codes;
    std::vector<uint64_t> dead;  // bit i: no encoding passes through byte i
  };
  static Scratch& ThreadScratch();
  Cache& ThreadCache() const;

  void EncodePiece(std::string_view piece, std::vector<int32_t>& ids) const;
  void FindCodes(std::string_view piece, Scratch& scratch) const;
  bool MayFollow(int32_t left, int32_t right) const;

  BpeModel model_;
  TokenTrie trie_;
  std::vector<int32_t> prefix_;   // by code: the longest token that is a shorter prefix, or -1
  std::vector<uint16_t> length_;  // by code, bytes
  std::unordered_map<std::string_view, int32_t> whole_;
  uint64_t serial_;  // of this encoder in the process: whose a thread's cache is
};

}  // namespace choir
