#include "data/clean/spaces.h"

#include <cstring>
#include <string_view>

#include "data/clean/code_points.h"

namespace choir {
namespace {

bool IsSpace(uint32_t c) {
  return c == ' ' || c == '\t' || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

// Lead bytes of the characters above.
bool MayBeSpace(char byte) {
  const auto b = static_cast<uint8_t>(byte);
  return b == ' ' || b == '\t' || b == 0xC2 || b == 0xE1 || b == 0xE2 || b == 0xE3;
}

const char* SkipSpaces(const char* p, const char* end) {
  while (p < end && MayBeSpace(*p)) {
    const char* next = p;
    if (!IsSpace(NextCodePoint(next))) break;
    p = next;
  }
  return p;
}

const char* TrimEnd(const char* begin, const char* end) {
  while (end > begin) {
    const uint32_t c = CodePointBefore(begin, end);
    if (!IsSpace(c)) break;
    end -= c < 0x80 ? 1 : c < 0x800 ? 2 : 3;
  }
  return end;
}

// Copies a line with single spaces; `out` is never past `p`.
char* FoldLine(const char* p, const char* end, char* out) {
  while (p < end) {
    if (MayBeSpace(*p)) {
      const char* const behind = SkipSpaces(p, end);
      if (behind > p) {
        *out++ = ' ';
        p = behind;
        continue;
      }
    }
    *out++ = *p++;
  }
  return out;
}

}  // namespace

void TidySpaces(SpaceMode mode, std::string& text) {
  if (mode == SpaceMode::kKeep) return;
  const char* p = text.data();
  const char* const text_end = p + text.size();
  char* const begin = text.data();
  char* out = begin;
  int breaks = 0;  // line ends that wait for the next line with something in it
  while (p < text_end) {
    const void* const found = std::memchr(p, '\n', static_cast<size_t>(text_end - p));
    const char* const line_end = found != nullptr ? static_cast<const char*>(found) : text_end;
    const char* const end = TrimEnd(p, line_end);
    const char* const start = mode == SpaceMode::kFold ? SkipSpaces(p, end) : p;
    if (start < end) {
      // The waiting line ends were read before `start`, so that `out` stays behind it.
      for (int i = 0; i < breaks && out > begin; ++i) *out++ = '\n';
      breaks = 0;
      if (mode == SpaceMode::kFold) {
        out = FoldLine(start, end, out);
      } else {
        std::memmove(out, start, static_cast<size_t>(end - start));
        out += end - start;
      }
    }
    if (breaks < 2) ++breaks;
    p = line_end + 1;
  }
  text.resize(static_cast<size_t>(out - begin));
}

}  // namespace choir
