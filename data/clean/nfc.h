// Unicode normalisation.
#pragma once

#include <string>

namespace choir {

// Normalisation form C of valid UTF-8 (Unicode Standard Annex 15), by ICU. Text that is in that
// form already, nearly all, costs a scan.
void NormalizeNfc(std::string& text);

}  // namespace choir
