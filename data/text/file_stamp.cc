#include "data/text/file_stamp.h"

#include <sys/stat.h>

#include <cerrno>

#include "base/file.h"

namespace choir {

absl::StatusOr<FileStamp> StampOf(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return FileError(path, "examine", errno);
  return FileStamp{info.st_size, info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec};
}

}  // namespace choir
