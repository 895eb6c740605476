#include "data/clean/utf8_repair.h"

#include <simdjson.h>

#include <string_view>

#include "data/text/utf8.h"

namespace choir {
namespace {

// Bytes of the ill-formed start of `text` that one U+FFFD stands for: the longest beginning of a
// character that could have been completed, or one byte.
size_t MaximalSubpart(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  const size_t length = first >= 0xC2 && first <= 0xDF   ? 2
                        : first >= 0xE0 && first <= 0xEF ? 3
                        : first >= 0xF0 && first <= 0xF4 ? 4
                                                         : 1;
  if (length == 1 || text.size() < 2) return 1;
  const unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < low || byte(1) > high) return 1;
  size_t n = 2;
  while (n < length && n < text.size() && (byte(n) & 0xC0) == 0x80) ++n;
  return n;
}

}  // namespace

int64_t RepairUtf8(std::string& text) {
  if (simdjson::validate_utf8(text.data(), text.size())) return 0;
  std::string repaired;
  repaired.reserve(text.size() + 16);
  int64_t replaced = 0;
  std::string_view rest = text;
  while (!rest.empty()) {
    size_t length = Utf8Length(rest);
    if (length > 0) {
      repaired.append(rest.substr(0, length));
    } else {
      length = MaximalSubpart(rest);
      repaired += "\xEF\xBF\xBD";
      ++replaced;
    }
    rest.remove_prefix(length);
  }
  text = std::move(repaired);
  return replaced;
}

}  // namespace choir
