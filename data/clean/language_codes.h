// Codes of languages: one spelling for each, and the scripts that it is written in.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace choir {

// BCP 47 tags, their older and longer relatives -> the code that Choir uses, in lower case and
// without script and region: zh-Hant -> zh, pt_BR -> pt, iw -> he, nb -> no, deu -> de,
// deu_Latn -> de (GlotLID's form). A tag that is not known stays, in lower case.
std::string NormalLanguage(std::string_view tag);

// The ICU script codes (UScriptCode) in which the language is written today; empty if unknown.
// `language` as NormalLanguage gives it. Sources: Unicode CLDR's languageData (primary scripts).
std::vector<uint8_t> ScriptsOf(std::string_view language);

}  // namespace choir
