#include "data/clean/language_codes.h"

#include <unicode/uloc.h>
#include <unicode/uscript.h>

#include <algorithm>
#include <utility>

namespace choir {
namespace {

// Codes that name one language for Choir: withdrawn ISO codes, CLD2's own, written standards of
// one macrolanguage that language identification cannot or need not tell apart.
constexpr std::pair<std::string_view, std::string_view> kAliases[] = {
    {"iw", "he"},  {"in", "id"},  {"ji", "yi"},  {"jw", "jv"},  {"mo", "ro"},  {"tl", "fil"},
    {"nb", "no"},  {"nn", "no"},  {"cmn", "zh"}, {"zht", "zh"}, {"zho", "zh"}, {"arb", "ar"},
    {"pes", "fa"}, {"prs", "fa"}, {"ekk", "et"}, {"lvs", "lv"}, {"swh", "sw"}, {"npi", "ne"},
    {"ory", "or"}, {"zsm", "ms"}, {"uzn", "uz"}, {"khk", "mn"}, {"pbt", "ps"}, {"azj", "az"},
    {"als", "sq"}, {"sh", "sr"},
};

// Scripts that ICU's likely subtags do not give: languages written in several.
struct Scripts {
  std::string_view language;
  std::vector<uint8_t> scripts;
};
const std::vector<Scripts>& ManyScripts() {
  static const auto* const table = new std::vector<Scripts>{
      {"ja", {USCRIPT_HAN, USCRIPT_HIRAGANA, USCRIPT_KATAKANA}},
      {"ko", {USCRIPT_HANGUL, USCRIPT_HAN}},
      {"zh", {USCRIPT_HAN, USCRIPT_BOPOMOFO}},
      {"sr", {USCRIPT_CYRILLIC, USCRIPT_LATIN}},
      {"az", {USCRIPT_LATIN, USCRIPT_CYRILLIC, USCRIPT_ARABIC}},
      {"kk", {USCRIPT_CYRILLIC, USCRIPT_LATIN, USCRIPT_ARABIC}},
      {"ku", {USCRIPT_LATIN, USCRIPT_ARABIC}},
      {"mn", {USCRIPT_CYRILLIC, USCRIPT_MONGOLIAN}},
      {"pa", {USCRIPT_GURMUKHI, USCRIPT_ARABIC}},
      {"tg", {USCRIPT_CYRILLIC, USCRIPT_ARABIC, USCRIPT_LATIN}},
      {"ug", {USCRIPT_ARABIC, USCRIPT_CYRILLIC, USCRIPT_LATIN}},
      {"uz", {USCRIPT_LATIN, USCRIPT_CYRILLIC, USCRIPT_ARABIC}},
  };
  return *table;
}

std::string LowerAscii(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

std::string Alias(std::string code) {
  for (const auto& [from, to] : kAliases) {
    if (code == from) return std::string(to);
  }
  return code;
}

}  // namespace

std::string NormalLanguage(std::string_view tag) {
  // Nothing that is longer than a tag of a language is one; ICU would cut it in silence.
  if (tag.size() > 32) return LowerAscii(tag);
  const std::string code = Alias(LowerAscii(tag.substr(0, tag.find_first_of("-_"))));
  if (code.size() != 3) return code;
  // ISO 639-2 and 639-3 codes have a shorter one in BCP 47 where ISO 639-1 has.
  char language[ULOC_LANG_CAPACITY];
  UErrorCode error = U_ZERO_ERROR;
  const int32_t length = uloc_getLanguage(code.c_str(), language, sizeof(language), &error);
  if (U_FAILURE(error) || length <= 0 || length >= static_cast<int32_t>(sizeof(language))) {
    return code;
  }
  return Alias(std::string(language, static_cast<size_t>(length)));
}

std::vector<uint8_t> ScriptsOf(std::string_view language) {
  for (const Scripts& entry : ManyScripts()) {
    if (entry.language == language) return entry.scripts;
  }
  UScriptCode codes[16];
  UErrorCode error = U_ZERO_ERROR;
  const int32_t count = uscript_getCode(std::string(language).c_str(), codes, 16, &error);
  // ICU answers for what it does not know with its default locale's script and a warning.
  if (U_FAILURE(error) || error == U_USING_DEFAULT_WARNING) return {};
  std::vector<uint8_t> scripts;
  for (int32_t i = 0; i < std::min(count, 16); ++i) {
    if (codes[i] >= 0 && codes[i] < 256) scripts.push_back(static_cast<uint8_t>(codes[i]));
  }
  return scripts;
}

}  // namespace choir
