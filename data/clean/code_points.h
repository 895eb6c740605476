// Properties of code points (Unicode, as ICU has them) in one small table.
#pragma once

#include <cstdint>
#include <string_view>

namespace choir {

enum class CharKind : uint8_t {
  kOther,  // controls, format characters, private use, unassigned
  kLetter,
  kMark,
  kDigit,  // Nd, Nl and No
  kPunctuation,
  kSymbol,
  kSpace,
};

struct CharInfo {
  CharKind kind = CharKind::kOther;
  uint8_t script = 0;     // ICU's UScriptCode: USCRIPT_LATIN ...
  bool unspaced = false;  // a letter of a script that is written without spaces between words
  bool picture = false;   // Extended_Pictographic: emoji and the like
};

namespace internal {
struct CharTable {
  const uint16_t* page;  // by code point / 256
  const CharInfo* info;  // by page * 256 + code point % 256
};
const CharTable& LoadCharTable();
}  // namespace internal

// Looks up code points up to U+10FFFF. Cheap to make (the table is made once in a process).
class CharInfos {
 public:
  CharInfos() : table_(internal::LoadCharTable()) {}
  const CharInfo& operator[](uint32_t c) const {
    return table_.info[table_.page[c >> 8] * 256u + (c & 255)];
  }

 private:
  const internal::CharTable& table_;
};

// The code point that the valid UTF-8 text at `p` begins with; moves `p` behind it.
inline uint32_t NextCodePoint(const char*& p) {
  const auto byte = [&](int i) { return static_cast<uint32_t>(static_cast<uint8_t>(p[i])); };
  const uint32_t first = byte(0);
  if (first < 0x80) return p += 1, first;
  if (first < 0xE0) {
    const uint32_t c = (first & 0x1F) << 6 | (byte(1) & 0x3F);
    return p += 2, c;
  }
  if (first < 0xF0) {
    const uint32_t c = (first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    return p += 3, c;
  }
  const uint32_t c =
      (first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
  return p += 4, c;
}

inline bool IsContinuation(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

// The code point before `p` in valid UTF-8 that begins at or before `begin` < `p`.
uint32_t CodePointBefore(const char* begin, const char* p);

// Code points of valid UTF-8.
int64_t CountCodePoints(std::string_view text);

}  // namespace choir
