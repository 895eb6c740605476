// Concatenation of text and numbers. Debian's Abseil was built for C++14, where absl::string_view
// is a type of its own: absl::StrCat does not take std::string_view, and this one does.
#pragma once

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace choir {
namespace internal {
inline absl::string_view ToPiece(std::string_view text) { return {text.data(), text.size()}; }
inline absl::string_view ToPiece(const std::string& text) { return text; }
inline absl::string_view ToPiece(const char* text) { return text; }
template <class T>
const T& ToPiece(const T& value) {
  return value;
}
}  // namespace internal

// StrCat("rank ", 3, " of ", world): as absl::StrCat. Pass doubles through ShortestDouble
// (base/config_field.h) where all digits matter: here they print with six.
template <class... Parts>
std::string StrCat(const Parts&... parts) {
  return absl::StrCat(internal::ToPiece(parts)...);
}

}  // namespace choir
