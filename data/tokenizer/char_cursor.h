// Characters of UTF-8 with their classes, for scanners. Bytes that are no UTF-8 count as one
// character each, of class kOther.
#pragma once

#include <cstdint>

#include "data/tokenizer/unicode_table.h"

namespace choir {

struct ScannedChar {
  CharClass cls;    // 0, in no set, at the end of the text
  uint32_t length;  // bytes
};

class CharScan {
 public:
  CharScan() : table_(Unicode()), ascii_(table_.blocks[table_.block_of[0]].data()) {}

  ScannedChar At(const uint8_t* p, const uint8_t* end) const {
    if (p == end) return {0, 0};
    if (*p < 0x80) return {ascii_[*p], 1};
    return Wide(p, end);
  }

  // The end of the run of characters of these classes that starts at p.
  const uint8_t* SkipWhile(const uint8_t* p, const uint8_t* end, CharClass classes) const {
    for (;;) {
      const ScannedChar c = At(p, end);
      if (!(c.cls & classes)) return p;
      p += c.length;
    }
  }

  // The run of white space at p: its end, its last character, and the end of its last newline
  // (null if it has none).
  struct SpaceRun {
    const uint8_t* end;
    const uint8_t* last;
    const uint8_t* newline;
  };
  SpaceRun Spaces(const uint8_t* p, const uint8_t* end) const {
    SpaceRun run{p, p, nullptr};
    for (;;) {
      const ScannedChar c = At(run.end, end);
      if (!(c.cls & kSpace)) return run;
      run.last = run.end;
      run.end += c.length;
      if (c.cls & kNewline) run.newline = run.end;
    }
  }

 private:
  ScannedChar Wide(const uint8_t* p, const uint8_t* end) const {
    const uint32_t first = *p;
    const auto left = static_cast<size_t>(end - p);
    const auto next = [&](size_t i) { return (p[i] & 0xC0) == 0x80; };
    if (first < 0xE0) {
      if (first < 0xC2 || left < 2 || !next(1)) return {kOther, 1};
      return {table_.Of((first & 0x1F) << 6 | (p[1] & 0x3F)), 2};
    }
    if (first < 0xF0) {
      if (left < 3 || !next(1) || !next(2)) return {kOther, 1};
      const uint32_t code = (first & 0x0F) << 12 | (p[1] & 0x3F) << 6 | (p[2] & 0x3F);
      // Overlong forms and surrogates.
      if (code < 0x800 || (code >= 0xD800 && code < 0xE000)) return {kOther, 1};
      return {table_.Of(code), 3};
    }
    if (first > 0xF4 || left < 4 || !next(1) || !next(2) || !next(3)) return {kOther, 1};
    const uint32_t code =
        (first & 0x07) << 18 | (p[1] & 0x3F) << 12 | (p[2] & 0x3F) << 6 | (p[3] & 0x3F);
    if (code < 0x10000 || code > 0x10FFFF) return {kOther, 1};
    return {table_.Of(code), 4};
  }

  const UnicodeTable& table_;
  const CharClass* ascii_;
};

}  // namespace choir
