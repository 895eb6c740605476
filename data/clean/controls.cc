#include "data/clean/controls.h"

#include <unicode/uscript.h>

#include <array>
#include <cstring>
#include <string_view>

#include "data/clean/code_points.h"

namespace choir {
namespace {

constexpr uint32_t kZeroWidthSpace = 0x200B, kNonJoiner = 0x200C, kJoiner = 0x200D;

bool IsLineEnd(uint32_t c) {
  return (c >= 0x0A && c <= 0x0D) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool IsRemoved(uint32_t c) {
  return c < 0x20 ? c != '\t'
                  : (c >= 0x7F && c <= 0x9F) || c == 0xAD || c == 0x061C || c == 0x180E ||
                        (c >= 0x200B && c <= 0x200F) || (c >= 0x202A && c <= 0x202E) ||
                        (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF ||
                        (c >= 0xFFF9 && c <= 0xFFFB) || (c & 0xFFFE) == 0xFFFE ||
                        (c >= 0xFDD0 && c <= 0xFDEF) || (c >= 0xE0000 && c <= 0xE007F);
}

// Bytes that begin no character of the two functions above: most text is passed over by them.
constexpr std::array<bool, 256> MakePlain() {
  std::array<bool, 256> plain{};
  for (int b = 0; b < 256; ++b) {
    plain[b] = b == '\t' || b == '\n' ||
               (b >= 0x20 && b != 0x7F && b != 0xC2 && b != 0xD8 && b != 0xE1 && b != 0xE2 &&
                b != 0xEF && b < 0xF0);
  }
  return plain;
}
constexpr std::array<bool, 256> kPlain = MakePlain();

size_t PlainPrefix(std::string_view text) {
  size_t i = 0;
  while (i < text.size() && kPlain[static_cast<uint8_t>(text[i])]) ++i;
  return i;
}

bool NeedsJoiners(int script) {
  switch (script) {
    case USCRIPT_ARABIC:
    case USCRIPT_SYRIAC:
    case USCRIPT_NKO:
    case USCRIPT_MONGOLIAN:
    case USCRIPT_DEVANAGARI:
    case USCRIPT_BENGALI:
    case USCRIPT_GURMUKHI:
    case USCRIPT_GUJARATI:
    case USCRIPT_ORIYA:
    case USCRIPT_TAMIL:
    case USCRIPT_TELUGU:
    case USCRIPT_KANNADA:
    case USCRIPT_MALAYALAM:
    case USCRIPT_SINHALA:
      return true;
    default:
      return false;
  }
}

bool NeedsZeroWidthSpace(int script) {
  return script == USCRIPT_THAI || script == USCRIPT_LAO || script == USCRIPT_KHMER ||
         script == USCRIPT_MYANMAR;
}

// Whether an invisible character is part of the spelling behind `text` (valid UTF-8).
bool BelongsBehind(std::string_view text, uint32_t c) {
  if (c != kZeroWidthSpace && c != kNonJoiner && c != kJoiner) return false;
  const CharInfos infos;
  const char* const begin = text.data();
  const char* p = begin + text.size();
  bool only_selectors = true;
  while (p > begin) {
    const uint32_t before = CodePointBefore(begin, p);
    const CharInfo& info = infos[before];
    if (info.kind == CharKind::kMark) {
      // Marks belong to the letter before them. Behind an emoji only the variation selector does:
      // others may become one character with it under NFC.
      only_selectors = only_selectors && before == 0xFE0F;
      do --p;
      while (IsContinuation(*p));
      continue;
    }
    const bool emoji = info.picture || (before >= 0x1F3FB && before <= 0x1F3FF);
    if (c == kJoiner && emoji) return only_selectors;
    if (info.kind != CharKind::kLetter) return false;
    return c == kZeroWidthSpace ? NeedsZeroWidthSpace(info.script) : NeedsJoiners(info.script);
  }
  return false;
}

}  // namespace

void RemoveControls(std::string& text) {
  char* const begin = text.data();
  const char* const end = begin + text.size();
  const char* p = begin;
  char* out = begin;  // never past p: nothing becomes longer
  while (p < end) {
    const size_t plain = PlainPrefix({p, static_cast<size_t>(end - p)});
    if (out != p) std::memmove(out, p, plain);
    p += plain;
    out += plain;
    if (p == end) break;
    const char* const start = p;
    const uint32_t c = NextCodePoint(p);
    if (IsLineEnd(c)) {
      if (c == '\r' && p < end && *p == '\n') ++p;
      *out++ = '\n';
    } else if (!IsRemoved(c) || BelongsBehind({begin, static_cast<size_t>(out - begin)}, c)) {
      for (const char* q = start; q < p; ++q) *out++ = *q;
    }
  }
  text.resize(static_cast<size_t>(out - begin));
}

}  // namespace choir
