// Text that is not UTF-8.
#pragma once

#include <cstdint>
#include <string>

namespace choir {

// Replaces every maximal part of an ill-formed sequence by U+FFFD (Unicode 15, section 3.9,
// "U+FFFD Substitution of Maximal Subparts", what browsers do); returns how many were replaced. The
// result is well-formed; well-formed text is not touched.
int64_t RepairUtf8(std::string& text);

}  // namespace choir
