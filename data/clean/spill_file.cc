#include "data/clean/spill_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/file.h"
#include "base/status.h"
#include "base/strings.h"

namespace choir {

absl::StatusOr<SpillFile> SpillFile::Create(const std::string& folder, size_t buffer) {
  SpillFile spill;
  spill.folder_ = folder;
  spill.capacity_ = buffer;
  std::string name = folder + "/.spill-XXXXXX";
  spill.file_ = mkostemp(name.data(), O_CLOEXEC);
  if (spill.file_ < 0) return FileError(folder, "make a temporary file in", errno);
  if (unlink(name.c_str()) != 0) return FileError(name, "unlink", errno);
  return spill;
}

SpillFile::SpillFile(SpillFile&& other) noexcept { *this = std::move(other); }

SpillFile& SpillFile::operator=(SpillFile&& other) noexcept {
  folder_ = std::move(other.folder_);
  std::swap(file_, other.file_);
  written_ = other.written_;
  capacity_ = other.capacity_;
  buffer_ = std::move(other.buffer_);
  return *this;
}

SpillFile::~SpillFile() {
  if (file_ >= 0) close(file_);
}

absl::Status SpillFile::Append(const void* bytes, size_t count) {
  const auto* const from = static_cast<const char*>(bytes);
  buffer_.insert(buffer_.end(), from, from + count);
  return buffer_.size() < capacity_ ? absl::OkStatus() : WriteBuffer();
}

absl::Status SpillFile::AppendDirect(const void* bytes, size_t count) {
  CHECK(buffer_.empty());
  return Write(static_cast<const char*>(bytes), count);
}

absl::Status SpillFile::Write(const char* bytes, size_t count) {
  while (count > 0) {
    const ssize_t n = pwrite(file_, bytes, count, written_);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const absl::Status error = FileError(folder_, "write a temporary file in", errno);
      return absl::Status(error.code(),
                          StrCat(std::string_view(error.message().data(), error.message().size()),
                                 " (deduplication sorts on this disk)"));
    }
    bytes += n;
    count -= static_cast<size_t>(n);
    written_ += n;
  }
  return absl::OkStatus();
}

absl::Status SpillFile::WriteBuffer() {
  RETURN_IF_ERROR(Write(buffer_.data(), buffer_.size()));
  buffer_.clear();
  return absl::OkStatus();
}

absl::Status SpillFile::Flush() {
  RETURN_IF_ERROR(WriteBuffer());
  buffer_.shrink_to_fit();
  return absl::OkStatus();
}

absl::Status SpillFile::Read(int64_t offset, void* bytes, size_t count) const {
  CHECK(offset >= 0 && offset + static_cast<int64_t>(count) <= size()) << "a read past the end";
  auto* out = static_cast<char*>(bytes);
  while (count > 0 && offset < written_) {
    const auto wanted =
        static_cast<size_t>(std::min<int64_t>(static_cast<int64_t>(count), written_ - offset));
    const ssize_t n = pread(file_, out, wanted, offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return FileError(folder_, "read a temporary file in", n < 0 ? errno : EIO);
    out += n;
    offset += n;
    count -= static_cast<size_t>(n);
  }
  if (count > 0) std::memcpy(out, buffer_.data() + (offset - written_), count);
  return absl::OkStatus();
}

}  // namespace choir
