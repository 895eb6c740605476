#include "train/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/file.h"
#include "base/status.h"
#include "base/strings.h"

namespace choir {

absl::StatusOr<RunDirectory> RunDirectory::Open(const std::string& path, bool resume) {
  namespace fs = std::filesystem;
  if (!resume && (fs::exists(path + "/config.yaml") || fs::exists(path + "/checkpoints"))) {
    return absl::AlreadyExistsError(StrCat(
        path, ": already holds a run; continue it with --resume, or choose another --run.dir"));
  }
  RETURN_IF_ERROR(MakeDirectories(path));
  const std::string name = path + "/lock";
  const int lock = open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock < 0) return FileError(name, "open", errno);
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    close(lock);
    return absl::FailedPreconditionError(
        StrCat(path, ": another process is training in this folder"));
  }
  return RunDirectory(path, lock);
}

RunDirectory::RunDirectory(RunDirectory&& other) noexcept
    : path_(std::move(other.path_)), lock_(other.lock_) {
  other.lock_ = -1;
}

RunDirectory::~RunDirectory() {
  if (lock_ >= 0) close(lock_);
}

}  // namespace choir
