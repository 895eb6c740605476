// How finely a tokenizer cuts a text.
#pragma once

#include <cstdint>
#include <string_view>

#include "data/tokenizer/tokenizer.h"

namespace choir {

struct FertilityCounts {
  int64_t tokens = 0;
  int64_t characters = 0;  // of UTF-8; a byte that is none counts as one
  int64_t words = 0;       // runs of characters that are no white space
  int64_t bytes = 0;

  FertilityCounts& operator+=(const FertilityCounts& other);
};

// `tokens` is left 0.
FertilityCounts CountText(std::string_view text);

// Where words are not parted by spaces (Chinese, Japanese, Thai, Khmer ...), a "word" is a clause,
// so that tokens per character is the figure to compare languages by.
FertilityCounts Fertility(const Tokenizer& tokenizer, std::string_view text);

}  // namespace choir
