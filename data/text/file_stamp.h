// Enough of a file to see that it is no longer what it was.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace choir {

struct FileStamp {
  int64_t size = 0;
  int64_t time = 0;  // of its last change, in nanoseconds since 1970
  bool operator==(const FileStamp&) const = default;
};

absl::StatusOr<FileStamp> StampOf(const std::string& path);

}  // namespace choir
