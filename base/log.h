// One line per event to standard error, and to a log file once one is open:
//
//   2026-01-31 12:00:00.123 info [rank 3 step 120] message
//
// All functions may be called from any thread.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace choir {

// Who speaks: the place in the job and the step it works on.
struct LogContext {
  int rank = 0;
  int world = 1;
  int64_t step = 0;
};

// For this thread; from the main thread also for all threads that never say who they are. (Ranks
// are processes, or threads of one.)
void SetLogContext(int rank, int world);
void SetLogStep(int64_t step);
LogContext GetLogContext();

void LogInfo(const std::string& message);
void LogWarning(const std::string& message);
void LogError(const std::string& message);
// An error that standard error already has in another form: to the log file only.
void LogErrorToFile(const std::string& message);

// Appends all later lines to `path` too (its folder is made if missing); a file opened before is
// closed. Every line is flushed, so that a killed process leaves its last words.
absl::Status OpenLogFile(const std::string& path);

}  // namespace choir
