// Well-formed UTF-8 (Unicode 15, table 3-7).
#pragma once

#include <cstddef>
#include <string_view>

namespace choir {

// Bytes of the well-formed character that `text` begins with; 0 if there is none.
size_t Utf8Length(std::string_view text);

bool IsValidUtf8(std::string_view text);

}  // namespace choir
