#include "data/clean/code_points.h"

#include <unicode/uchar.h>
#include <unicode/uscript.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace choir {
namespace {

CharKind KindOf(UChar32 c) {
  if (u_isUWhiteSpace(c)) return CharKind::kSpace;
  const uint32_t mask = U_GET_GC_MASK(c);
  if (mask & U_GC_L_MASK) return CharKind::kLetter;
  if (mask & U_GC_M_MASK) return CharKind::kMark;
  if (mask & U_GC_N_MASK) return CharKind::kDigit;
  if (mask & U_GC_P_MASK) return CharKind::kPunctuation;
  if (mask & U_GC_S_MASK) return CharKind::kSymbol;
  return CharKind::kOther;
}

CharInfo InfoOf(UChar32 c) {
  CharInfo info;
  info.kind = KindOf(c);
  UErrorCode error = U_ZERO_ERROR;
  const UScriptCode script = uscript_getScript(c, &error);
  // ICU has fewer than 256 scripts; one beyond would count as unknown.
  info.script = static_cast<uint8_t>(
      script >= 0 && script < 256 ? script : static_cast<int>(USCRIPT_UNKNOWN));
  // Scripts that break lines between letters (Han, kana, Thai, Lao, Khmer, Burmese ...) write no
  // spaces; Hangul and Tibetan, which also do, separate words in other ways.
  info.unspaced = info.kind == CharKind::kLetter && script != USCRIPT_HANGUL &&
                  script != USCRIPT_TIBETAN && script >= 0 && uscript_breaksBetweenLetters(script);
  info.picture = u_hasBinaryProperty(c, UCHAR_EXTENDED_PICTOGRAPHIC);
  return info;
}

struct Tables {
  std::vector<uint16_t> pages;
  std::vector<CharInfo> infos;
  internal::CharTable view;
};

// 17 planes in pages of 256; equal pages (most of them) are kept once.
Tables* MakeTables() {
  auto* const tables = new Tables;
  std::map<std::string, uint16_t> seen;
  for (UChar32 first = 0; first <= UCHAR_MAX_VALUE; first += 256) {
    CharInfo page[256];
    for (int i = 0; i < 256; ++i) page[i] = InfoOf(first + i);
    std::string bytes(sizeof(page), '\0');
    std::memcpy(bytes.data(), page, sizeof(page));
    const auto [it, fresh] = seen.try_emplace(bytes, static_cast<uint16_t>(seen.size()));
    if (fresh) tables->infos.insert(tables->infos.end(), std::begin(page), std::end(page));
    tables->pages.push_back(it->second);
  }
  tables->view = {tables->pages.data(), tables->infos.data()};
  return tables;
}

}  // namespace

const internal::CharTable& internal::LoadCharTable() {
  static const Tables* const tables = MakeTables();  // never freed: threads may outlive main
  return tables->view;
}

uint32_t CodePointBefore(const char* begin, const char* p) {
  do --p;
  while (p > begin && IsContinuation(*p));
  return NextCodePoint(p);
}

int64_t CountCodePoints(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char byte) { return !IsContinuation(byte); });
}

}  // namespace choir
