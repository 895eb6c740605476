// A temporary file that is written at its end and read anywhere.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace choir {

// The file has no name, so that nothing is left of it whatever ends the process. Errors name the
// folder and what to do about a full disk.
class SpillFile {
 public:
  // `buffer` bytes are collected before they are written.
  static absl::StatusOr<SpillFile> Create(const std::string& folder, size_t buffer);
  SpillFile() = default;
  SpillFile(SpillFile&& other) noexcept;
  SpillFile& operator=(SpillFile&& other) noexcept;
  ~SpillFile();

  // Bytes appended so far.
  int64_t size() const { return written_ + static_cast<int64_t>(buffer_.size()); }
  absl::Status Append(const void* bytes, size_t count);
  // Appends without copying into the buffer, which must be empty.
  absl::Status AppendDirect(const void* bytes, size_t count);
  // Reads back what was appended; it may still be in the buffer.
  absl::Status Read(int64_t offset, void* bytes, size_t count) const;
  // Writes the buffer and frees it.
  absl::Status Flush();

 private:
  absl::Status WriteBuffer();
  absl::Status Write(const char* bytes, size_t count);

  std::string folder_;
  int file_ = -1;
  int64_t written_ = 0;
  size_t capacity_ = 0;
  std::vector<char> buffer_;
};

}  // namespace choir
