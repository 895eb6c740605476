// absl::Status with the two macros that this Abseil release lacks. User input is reported through
// Status; the message carries `file:line:column:` or `argument:N:` (base/config*.h).
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace choir {
namespace internal {
inline absl::Status ToStatus(absl::Status status) { return status; }
template <class T>
absl::Status ToStatus(absl::StatusOr<T>&& value) {
  return std::move(value).status();
}
}  // namespace internal
}  // namespace choir

// Returns from the calling function if `expression` (a Status) is an error.
#define RETURN_IF_ERROR(expression)                                                                \
  do {                                                                                             \
    if (absl::Status return_status = ::choir::internal::ToStatus(expression); !return_status.ok()) \
        [[unlikely]]                                                                               \
      return return_status;                                                                        \
  } while (false)

#define CHOIR_CONCAT_INNER(a, b) a##b
#define CHOIR_CONCAT(a, b) CHOIR_CONCAT_INNER(a, b)

// ASSIGN_OR_RETURN(auto x, F()): evaluates F() -> StatusOr, returns its error or assigns its value.
#define ASSIGN_OR_RETURN(left, expression) \
  ASSIGN_OR_RETURN_IMPL(CHOIR_CONCAT(status_or_, __LINE__), left, expression)
#define ASSIGN_OR_RETURN_IMPL(temporary, left, expression) \
  auto temporary = (expression);                           \
  if (!temporary.ok()) [[unlikely]]                        \
    return std::move(temporary).status();                  \
  left = *std::move(temporary)
