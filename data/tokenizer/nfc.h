// Normalisation form C (Unicode Standard Annex 15) for tokenizers that ask for it, frozen at
// Unicode 9.0 as in the library that they were trained with. Bytes that are no UTF-8 stay where
// they are.
#pragma once

#include <string>
#include <string_view>

namespace choir {

// False at most for text that holds a character which could change or take part in a change.
bool IsSurelyNfc(std::string_view text);

std::string ToNfc(std::string_view text);

}  // namespace choir
