#include "checkpoint/raw_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "base/strings.h"

namespace choir {

// Fits the second-level cache, so that the hash reads what the copy just left there.
constexpr int64_t kBlock = int64_t{256} << 10;

absl::StatusOr<RawFile> RawFile::Open(const std::string& folder, const std::string& name) {
  const std::string path = StrCat(folder, "/", name);
  // O_NONBLOCK: a named pipe in place of the file must not hang the reader.
  const int fd = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0 && errno == ELOOP) {
    return absl::FailedPreconditionError(
        StrCat(path, ": is a symbolic link; a checkpoint holds only regular files"));
  }
  if (fd < 0) return FileError(path, "open", errno);
  RawFile file(path, fd);
  struct stat info;
  if (fstat(fd, &info) != 0) return FileError(path, "examine", errno);
  if (!S_ISREG(info.st_mode)) {
    return absl::FailedPreconditionError(StrCat(path, ": is not a regular file"));
  }
  file.size_ = info.st_size;
  return file;
}

RawFile::RawFile(RawFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}

RawFile::~RawFile() {
  if (fd_ >= 0) close(fd_);
}

absl::Status RawFile::ReadAt(int64_t position, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t got = pread(fd_, bytes.data(), bytes.size(), position);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(path_, "read", errno);
    if (got == 0) {
      return absl::OutOfRangeError(StrCat(path_, ": ends before byte ", position));
    }
    bytes = bytes.subspan(static_cast<size_t>(got));
    position += got;
  }
  return absl::OkStatus();
}

absl::StatusOr<Hash128> RawFile::Hash() const {
  Hasher128 hasher;
  std::vector<std::byte> buffer(kBlock);
  for (int64_t position = 0; position < size_; position += kBlock) {
    const std::span<std::byte> block(
        buffer.data(), static_cast<size_t>(std::min<int64_t>(kBlock, size_ - position)));
    RETURN_IF_ERROR(ReadAt(position, block));
    hasher.Update(block);
  }
  return hasher.Digest();
}

void RawFile::StartSync(int64_t position, int64_t bytes) const {
  if (bytes >= (int64_t{1} << 20)) sync_file_range(fd_, position, bytes, SYNC_FILE_RANGE_WRITE);
}

absl::Status RawFile::Sync() const {
  if (fsync(fd_) != 0) return FileError(path_, "flush to disk", errno);
  return absl::OkStatus();
}

}  // namespace choir
