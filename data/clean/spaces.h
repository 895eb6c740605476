// White space.
#pragma once

#include <string>

#include "data/clean/clean_config.h"

namespace choir {

// Of valid UTF-8 whose line ends are LF:
// kTrim: removes white space at the ends of lines and empty lines at both ends of the text, and
//   leaves at most one empty line in a row. Indentation and spaces inside a line stay.
// kFold: also removes indentation and folds every run of spaces (tab, no-break, ideographic ...)
//   inside a line into one U+0020.
// kKeep: nothing.
void TidySpaces(SpaceMode mode, std::string& text);

}  // namespace choir
