// The stages that edit text: repair, controls, NFC, spaces.
#include <gtest/gtest.h>

#include <string>

#include "data/clean/controls.h"
#include "data/clean/nfc.h"
#include "data/clean/spaces.h"
#include "data/clean/utf8_repair.h"
#include "data/text/utf8.h"

namespace choir {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";

std::string Repaired(std::string text, int64_t expected) {
  EXPECT_EQ(RepairUtf8(text), expected);
  EXPECT_TRUE(IsValidUtf8(text));
  return text;
}

TEST(Utf8RepairTest, LeavesTextAlone) {
  for (const std::string text :
       {"", "abc", "Größe", "日本語", "ไทย", "👩‍👩‍👧", "\xEF\xBF\xBD"}) {
    EXPECT_EQ(Repaired(text, 0), text);
  }
}

// The examples of the Unicode Standard, tables 3-8 to 3-11.
TEST(Utf8RepairTest, ReplacesMaximalSubparts) {
  const std::string r = kReplacement;
  EXPECT_EQ(Repaired("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", 8),
            r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(Repaired("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", 8),
            r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(Repaired("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", 7),
            r + r + r + r + r + "A" + r + r + "B");
  EXPECT_EQ(Repaired("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", 4), r + r + r + r + "A");
  EXPECT_EQ(Repaired("a\xE6\x97", 1), "a" + r);  // cut off at the end
}

std::string Controls(std::string text) {
  RemoveControls(text);
  std::string again = text;
  RemoveControls(again);
  EXPECT_EQ(again, text);
  return text;
}

TEST(ControlsTest, LineEndsBecomeLf) {
  EXPECT_EQ(Controls("a\r\nb\rc\vd\fe\u0085f\u2028g\u2029h\n"), "a\nb\nc\nd\ne\nf\ng\nh\n");
  EXPECT_EQ(Controls("\r\r\n\n"), "\n\n\n");
}

TEST(ControlsTest, RemovesWhatIsInvisible) {
  EXPECT_EQ(Controls("\uFEFFa\u0001b\u007Fc\u0090d\u00ADe\tf"), "abcde\tf");
  EXPECT_EQ(Controls(std::string("nul\0l", 5)), "null");
  EXPECT_EQ(Controls("שלום\u200F עולם\u202E x\u2066y\u2069"), "שלום עולם xy");
  EXPECT_EQ(Controls("word\u2060joiner zero\u200Bwidth"), "wordjoiner zerowidth");
  EXPECT_EQ(Controls("a\uFDD0b\U0001FFFEc\U000E0041d"), "abcd");
}

TEST(ControlsTest, KeepsJoinersThatSpell) {
  const std::string persian = "می\u200Cخواهم";  // half space
  EXPECT_EQ(Controls(persian), persian);
  const std::string hindi = "क्\u200Dष क्\u200Cष";  // behind a virama, which is a mark
  EXPECT_EQ(Controls(hindi), hindi);
  const std::string family = "👩\u200D👩\u200D👧 ❤\uFE0F\u200D🔥 👩🏽\u200D🚀";
  EXPECT_EQ(Controls(family), family);
  EXPECT_EQ(Controls("a\u200Cb\u200Dc"), "abc");
  EXPECT_EQ(Controls("می\u200C\u200C\u200Cخ"), "می\u200Cخ");
  EXPECT_EQ(Controls("\u200Dx 1\u200D"), "x 1");
  EXPECT_EQ(Controls("ភាសា\u200Bខ្មែរ ไทย\u200Bไทย"), "ភាសា\u200Bខ្មែរ ไทย\u200Bไทย");
}

// NFC may make one character of an emoji and a mark, which then is no emoji any more.
TEST(ControlsTest, JoinerBehindAMarkOnAnEmojiGoes) {
  std::string text = Controls("\u2194\u0338\u200Dx");
  NormalizeNfc(text);
  EXPECT_EQ(Controls(text), text);
}

std::string Nfc(std::string text) {
  NormalizeNfc(text);
  return text;
}

TEST(NfcTest, Composes) {
  EXPECT_EQ(Nfc("Gro\u0308\u00DFe e\u0301te\u0301"), "Gr\u00F6\u00DFe \u00E9t\u00E9");
  EXPECT_EQ(Nfc("\u1112\u1161\u11AB"), "\uD55C");                  // Hangul
  EXPECT_EQ(Nfc("Vie\u0323\u0302t"), "Vi\u1EC7t");                 // marks in canonical order
  EXPECT_EQ(Nfc("\u30CF\u309A"), "\u30D1");                        // kana
  EXPECT_EQ(Nfc("\u212B \u2126 \uF900"), "\u00C5 \u03A9 \u8C48");  // singletons
  EXPECT_EQ(Nfc("\u0958"), "\u0915\u093C");                        // excluded from composition
  for (const std::string same : {"", "plain", "Größe", "한국어", "ไทย", "العربية", "हिन्दी"}) {
    EXPECT_EQ(Nfc(same), same);
  }
}

std::string Tidied(SpaceMode mode, std::string text) {
  TidySpaces(mode, text);
  std::string again = text;
  TidySpaces(mode, again);
  EXPECT_EQ(again, text);
  return text;
}

TEST(SpacesTest, Trims) {
  const auto trim = [](const std::string& text) { return Tidied(SpaceMode::kTrim, text); };
  EXPECT_EQ(trim("\n \n  if (a):\t \n    b  c\u3000\n\n\n\n\u00A0\nd\n\n"),
            "  if (a):\n    b  c\n\nd");
  EXPECT_EQ(trim(" \t\u2003\n \n"), "");
  EXPECT_EQ(trim(""), "");
  EXPECT_EQ(trim("a"), "a");
  EXPECT_EQ(trim("prix\u00A0: 5\u202F€ "), "prix\u00A0: 5\u202F€");
}

TEST(SpacesTest, Folds) {
  const auto fold = [](const std::string& text) { return Tidied(SpaceMode::kFold, text); };
  EXPECT_EQ(fold("  a \t b\u00A0\u3000c \n\n\n   d\u2009e  "), "a b c\n\nd e");
  EXPECT_EQ(fold("日本\u3000語"), "日本 語");
  EXPECT_EQ(fold("â ã à"), "â ã à");  // lead bytes of spaces that are none
}

TEST(SpacesTest, Keeps) { EXPECT_EQ(Tidied(SpaceMode::kKeep, " a  \n\n\n"), " a  \n\n\n"); }

}  // namespace
}  // namespace choir
