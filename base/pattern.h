// Names chosen by pattern, as configs give them.
#pragma once

#include <string_view>

namespace choir {

// Whether `name` matches `pattern`, in which '*' stands for any text.
bool MatchesPattern(std::string_view name, std::string_view pattern);

}  // namespace choir
