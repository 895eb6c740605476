#include "data/tokenizer/unicode_table.h"

#include "base/check.h"

namespace choir {
namespace {

CharClass ExtrasOf(uint32_t code) {
  if (code == '\r' || code == '\n') return kNewline;
  if ((code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z')) return kAsciiLetter;
  if (code > ' ' && code < 0x7F && !(code >= '0' && code <= '9')) return kAsciiPunct;
  if ((code >= 0x4E00 && code <= 0x9FA5) || (code >= 0x3040 && code <= 0x30FF)) return kCjk;
  return 0;
}

}  // namespace

UnicodeTable::UnicodeTable() {
  size_t num_blocks = 0, range = 0;
  for (uint32_t first = 0; first < 0x110000; first += 256) {
    std::array<CharClass, 256> block;
    for (uint32_t i = 0; i < 256; ++i) {
      const uint32_t code = first + i;
      while (range + 1 < kNumUnicodeRanges && kUnicodeRanges[range + 1] >> 4 <= code) ++range;
      const uint32_t bit = kUnicodeRanges[range] & 0xF;
      block[i] = static_cast<CharClass>(CharClass{1} << bit | ExtrasOf(code));
    }
    size_t same = 0;
    while (same < num_blocks && blocks[same] != block) ++same;
    if (same == num_blocks) {
      CHECK(num_blocks < blocks.size()) << "more than 256 different blocks of characters";
      blocks[num_blocks++] = block;
    }
    block_of[first >> 8] = static_cast<uint8_t>(same);
  }
}

const UnicodeTable& Unicode() {
  static const UnicodeTable table;
  return table;
}

}  // namespace choir
