// Files of a checkpoint read as plain bytes, without HDF5: how checksums are verified before the
// HDF5 library, which crashes on hostile files, sees them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "base/hash.h"

namespace choir {

class RawFile {
 public:
  // Opens folder/name, a regular file; a symbolic link or any other kind is FailedPrecondition.
  // Other errors as in base/file.h.
  static absl::StatusOr<RawFile> Open(const std::string& folder, const std::string& name);
  RawFile(RawFile&& other) noexcept;
  RawFile& operator=(RawFile&&) = delete;
  ~RawFile();

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }
  // Fills `bytes` from the given position; OutOfRange if the file ends before.
  absl::Status ReadAt(int64_t position, std::span<std::byte> bytes) const;
  // Hash of the whole file.
  absl::StatusOr<Hash128> Hash() const;
  // Lets the disk start on large ranges now, so that Sync has less to wait for. Only a hint.
  void StartSync(int64_t position, int64_t bytes) const;
  // Flushes the content to disk.
  absl::Status Sync() const;

 private:
  RawFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  std::string path_;
  int fd_;
  int64_t size_ = 0;
};

}  // namespace choir
