// Exit states that scripts rely on (docs/operations.md).
#pragma once

#include "absl/status/status.h"

namespace choir {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;     // the system: a disk, a file, memory
inline constexpr int kExitBadInput = 2;    // nothing was created or changed
inline constexpr int kExitIntegrity = 3;   // a damaged file
inline constexpr int kExitNumeric = 4;     // NaN or infinity in training
inline constexpr int kExitWatchdog = 5;    // reserved for hangs
inline constexpr int kExitResumable = 75;  // stopped on request; `--resume` continues

// The state that an error ends the program with.
int ExitCode(const absl::Status& status);
// Prints the message of an error to standard error, as it is, and returns its exit state.
int ReportError(const absl::Status& status);

}  // namespace choir
