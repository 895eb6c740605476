// Classes of characters as pre-tokenizers see them: the general category and White_Space, frozen at
// one version of Unicode (scripts/unicode_tables), so that text splits alike on every machine.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>

namespace choir {

extern const char* const kUnicodeVersion;
extern const uint32_t kUnicodeRanges[];
extern const size_t kNumUnicodeRanges;

// A set of classes. Every character is in exactly one of the first eleven.
using CharClass = uint16_t;
inline constexpr CharClass kUpper = 1 << 0;        // \p{Lu}
inline constexpr CharClass kLower = 1 << 1;        // \p{Ll}
inline constexpr CharClass kTitle = 1 << 2;        // \p{Lt}
inline constexpr CharClass kModifier = 1 << 3;     // \p{Lm}
inline constexpr CharClass kOtherLetter = 1 << 4;  // \p{Lo}
inline constexpr CharClass kMark = 1 << 5;         // \p{M}
inline constexpr CharClass kNumber = 1 << 6;       // \p{N}
inline constexpr CharClass kPunctuation = 1 << 7;  // \p{P}
inline constexpr CharClass kSymbol = 1 << 8;       // \p{S}
inline constexpr CharClass kSpace = 1 << 9;        // \s
inline constexpr CharClass kOther = 1 << 10;       // controls, unassigned; bytes that are not UTF-8
// And some characters are also in one of these.
inline constexpr CharClass kNewline = 1 << 11;      // \r \n
inline constexpr CharClass kCjk = 1 << 12;          // U+4E00..U+9FA5, U+3040..U+30FF
inline constexpr CharClass kAsciiPunct = 1 << 13;   // ! to ~ but letters and digits
inline constexpr CharClass kAsciiLetter = 1 << 14;  // A-Z a-z

inline constexpr CharClass kLetters = kUpper | kLower | kTitle | kModifier | kOtherLetter;

// Two levels: blocks of 256 characters, equal blocks stored once.
struct UnicodeTable {
  UnicodeTable();
  CharClass Of(uint32_t code) const { return blocks[block_of[code >> 8]][code & 0xFF]; }

  std::array<uint8_t, 0x1100> block_of;
  std::array<std::array<CharClass, 256>, 256> blocks;
};
// Made on first use.
const UnicodeTable& Unicode();

}  // namespace choir
