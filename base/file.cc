#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>

#include "base/status.h"
#include "base/strings.h"

namespace choir {
namespace {

// Owns a descriptor; Close reports what close() says, which on network file systems may be the
// first news of a failed write.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { Close(); }
  int get() const { return fd_; }
  bool Close() {
    const int fd = std::exchange(fd_, -1);
    return fd < 0 || close(fd) == 0;
  }

 private:
  int fd_;
};

std::string FolderOf(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

absl::Status WriteAll(const std::string& path, std::span<const std::string_view> pieces) {
  Descriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (file.get() < 0) return FileError(path, "create", errno);
  for (std::string_view bytes : pieces) {
    while (!bytes.empty()) {
      const ssize_t written = write(file.get(), bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return FileError(path, "write", errno);
      bytes.remove_prefix(static_cast<size_t>(written));
    }
  }
  if (fsync(file.get()) != 0) return FileError(path, "flush to disk", errno);
  if (!file.Close()) return FileError(path, "close", errno);
  return absl::OkStatus();
}

}  // namespace

absl::Status FileError(std::string_view path, std::string_view action, int error) {
  const absl::Status reason = absl::ErrnoToStatus(error, "");
  return absl::Status(reason.code(), StrCat(path, ": cannot ", action, ": ",
                                            std::generic_category().message(error)));
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return FileError(path, "open", errno);
  struct stat info;
  if (fstat(file.get(), &info) != 0) return FileError(path, "examine", errno);
  std::string bytes;
  size_t filled = 0;
  // The size is only a hint: pipes and /proc report 0, and a file may grow while it is read.
  bytes.resize(static_cast<size_t>(info.st_size) + 1);
  while (true) {
    if (filled == bytes.size()) bytes.resize(2 * bytes.size());
    const ssize_t got = read(file.get(), bytes.data() + filled, bytes.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(path, "read", errno);
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  bytes.resize(filled);
  return bytes;
}

absl::Status WriteFileAtomic(const std::string& path, std::string_view bytes) {
  return WriteFileAtomic(path, std::span<const std::string_view>(&bytes, 1));
}

absl::Status WriteFileAtomic(const std::string& path, std::span<const std::string_view> pieces) {
  static std::atomic<uint64_t> serial = 0;
  const std::string folder = FolderOf(path);
  const std::string name = std::filesystem::path(path).filename().string();
  const std::string temporary =
      StrCat(folder, "/.", name, ".tmp-", getpid(), "-", serial.fetch_add(1));
  if (absl::Status status = WriteAll(temporary, pieces); !status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    const int error = errno;
    unlink(temporary.c_str());
    return FileError(path, "replace", error);
  }
  return FsyncDirectory(folder);
}

absl::Status FsyncDirectory(const std::string& path) {
  Descriptor folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) return FileError(path, "open the folder", errno);
  if (fsync(folder.get()) != 0) return FileError(path, "flush the folder to disk", errno);
  return absl::OkStatus();
}

absl::Status MakeDirectories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return FileError(path, "create the folder", error.value());
  return absl::OkStatus();
}

}  // namespace choir
