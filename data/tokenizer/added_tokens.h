// Tokens that are found in the text before it is split (Hugging Face's added tokens).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer/char_cursor.h"
#include "data/tokenizer/token_trie.h"

namespace choir {

struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool special = false;      // stands for no text
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // and after it
  bool single_word = false;  // only where no word character touches it
  bool normalized = false;   // found after normalisation
};

// A stretch of text, and the token that it is; id -1: none.
struct TextSegment {
  std::string_view text;
  int32_t id = -1;
};

class AddedTokenFinder {
 public:
  explicit AddedTokenFinder(std::vector<AddedToken> tokens);
  bool empty() const { return tokens_.empty(); }
  // Appends the segments of `text`; of several tokens at one place the longest counts.
  void Find(std::string_view text, std::vector<TextSegment>& segments) const;

 private:
  bool StandsAlone(std::string_view text, size_t begin, size_t end) const;

  std::vector<AddedToken> tokens_;
  TokenTrie trie_;
  bool first_bytes_[256] = {};
  CharScan scan_;
};

}  // namespace choir
