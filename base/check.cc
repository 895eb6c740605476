#include "base/check.h"

#include <cstdlib>

#include "base/log.h"

namespace choir {

void CheckFailed(const char* file, int line, const std::string& what) {
  LogError(std::string(file) + ":" + std::to_string(line) + ": CHECK failed: " + what);
  std::abort();
}

}  // namespace choir
