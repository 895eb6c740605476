#include "data/tokenizer/fertility.h"

#include "data/tokenizer/char_cursor.h"

namespace choir {

FertilityCounts& FertilityCounts::operator+=(const FertilityCounts& other) {
  tokens += other.tokens;
  characters += other.characters;
  words += other.words;
  bytes += other.bytes;
  return *this;
}

FertilityCounts CountText(std::string_view text) {
  FertilityCounts counts;
  counts.bytes = static_cast<int64_t>(text.size());
  const CharScan scan;
  const auto* p = reinterpret_cast<const uint8_t*>(text.data());
  const uint8_t* const end = p + text.size();
  bool in_word = false;
  while (p != end) {
    const ScannedChar c = scan.At(p, end);
    const bool space = (c.cls & kSpace) != 0;
    if (!space && !in_word) ++counts.words;
    in_word = !space;
    ++counts.characters;
    p += c.length;
  }
  return counts;
}

FertilityCounts Fertility(const Tokenizer& tokenizer, std::string_view text) {
  FertilityCounts counts = CountText(text);
  counts.tokens = static_cast<int64_t>(tokenizer.Encode(text).size());
  return counts;
}

}  // namespace choir
