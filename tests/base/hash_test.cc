#include "base/hash.h"

#include <gtest/gtest.h>

namespace choir {
namespace {

// Published values of XXH3 for the empty input.
TEST(Hash, KnownAnswers) {
  EXPECT_EQ(ToHex(HashOf64("")), "2d06800538d394c2");
  EXPECT_EQ(ToHex(HashOf128("")), "99aa06d3014798d86001c324468d497f");
}

TEST(Hash, StreamingEqualsOneCallForAnyCut) {
  std::string bytes(5000, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * i >> 2);
  Hasher64 narrow;
  Hasher128 wide;
  for (const size_t cut : {0, 1, 63, 255, 256, 1024, 4999}) {
    narrow.Reset();
    wide.Reset();
    const std::string_view text = bytes;
    narrow.Update(text.substr(0, cut));
    wide.Update(text.substr(0, cut));
    EXPECT_EQ(narrow.Digest(), HashOf64(text.substr(0, cut)));
    EXPECT_EQ(wide.Digest(), HashOf128(text.substr(0, cut)));
    narrow.Update(text.substr(cut));
    wide.Update(text.substr(cut));
    EXPECT_EQ(narrow.Digest(), HashOf64(text));
    EXPECT_EQ(wide.Digest(), HashOf128(text));
  }
  bytes[4321] ^= 1;
  EXPECT_NE(narrow.Digest(), HashOf64(bytes));
  EXPECT_FALSE(wide.Digest() == HashOf128(bytes));
}

TEST(Hash, HexKeepsLeadingZeros) {
  EXPECT_EQ(ToHex(uint64_t{0xab}), "00000000000000ab");
  EXPECT_EQ(ToHex(Hash128{1, 2}), "00000000000000010000000000000002");
}

}  // namespace
}  // namespace choir
