#include "data/text/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace choir {
namespace {

std::string Encode(char32_t c, int length) {
  if (length == 1) return {static_cast<char>(c)};
  std::string out(static_cast<size_t>(length), '\0');
  for (int i = length - 1; i > 0; --i, c >>= 6) out[i] = static_cast<char>(0x80 | (c & 0x3F));
  const int mark = length == 2 ? 0xC0 : length == 3 ? 0xE0 : 0xF0;
  out[0] = static_cast<char>(mark | static_cast<int>(c));
  return out;
}

int ShortestLength(char32_t c) { return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4; }

TEST(Utf8, EveryCodePointInItsShortestFormAndNoOther) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    const bool surrogate = c >= 0xD800 && c <= 0xDFFF;
    const int shortest = ShortestLength(c);
    const std::string text = Encode(c, shortest);
    ASSERT_EQ(Utf8Length(text), surrogate ? 0u : text.size()) << static_cast<uint32_t>(c);
    ASSERT_EQ(IsValidUtf8("a" + text + "b"), !surrogate);
    if (shortest < 4) {
      ASSERT_EQ(Utf8Length(Encode(c, shortest + 1)), 0u);
    }
  }
  EXPECT_EQ(Utf8Length(Encode(0x110000, 4)), 0u);
}

TEST(Utf8, TruncatedAndStray) {
  EXPECT_EQ(Utf8Length(""), 0u);
  EXPECT_EQ(Utf8Length("\xE2\x96"), 0u);
  EXPECT_EQ(Utf8Length("\x80"), 0u);
  EXPECT_EQ(Utf8Length("\xC3"
                       "A"),
            0u);
  EXPECT_EQ(Utf8Length("\xFF"), 0u);
  EXPECT_TRUE(IsValidUtf8(std::string_view("\0", 1)));
}

}  // namespace
}  // namespace choir
