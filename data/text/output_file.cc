#include "data/text/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/file.h"
#include "base/status.h"
#include "base/strings.h"

namespace choir {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 18;

}  // namespace

absl::StatusOr<OutputFile> OutputFile::Create(const std::string& path) {
  static std::atomic<uint64_t> serial = 0;
  OutputFile file;
  file.path_ = path;
  file.temporary_ = StrCat(path, ".", serial.fetch_add(1), ".tmp-", getpid());
  file.fd_ = open(file.temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file.fd_ < 0) return FileError(file.temporary_, "create", errno);
  return file;
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      fd_(std::exchange(other.fd_, -1)),
      buffer_(std::move(other.buffer_)),
      size_(other.size_) {}

OutputFile::~OutputFile() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(temporary_.c_str());
}

absl::Status OutputFile::Write(std::string_view bytes) {
  size_ += static_cast<int64_t>(bytes.size());
  buffer_ += bytes;
  return buffer_.size() < kBufferBytes ? absl::OkStatus() : Flush();
}

absl::Status OutputFile::Flush() {
  std::string_view rest = buffer_;
  while (!rest.empty()) {
    const ssize_t written = write(fd_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError(path_, "write", errno);
    rest.remove_prefix(static_cast<size_t>(written));
  }
  buffer_.clear();
  return absl::OkStatus();
}

absl::Status OutputFile::Commit() {
  RETURN_IF_ERROR(Flush());
  if (close(std::exchange(fd_, -1)) != 0) {
    const int error = errno;
    unlink(temporary_.c_str());
    return FileError(path_, "close", error);
  }
  if (rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    unlink(temporary_.c_str());
    return FileError(path_, "rename into place", error);
  }
  return absl::OkStatus();
}

}  // namespace choir
