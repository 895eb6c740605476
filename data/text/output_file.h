// A file that appears whole or not at all, written piece by piece.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace choir {

// Writes to a temporary file beside `path`. Unless committed it is removed; what a killed process
// leaves ends in ".tmp-<process>". Errors as in base/file.h.
class OutputFile {
 public:
  static absl::StatusOr<OutputFile> Create(const std::string& path);
  OutputFile(OutputFile&& other) noexcept;
  ~OutputFile();

  absl::Status Write(std::string_view bytes);
  // The bytes so far.
  int64_t size() const { return size_; }
  // Gives the file its name. It survives the end of the process, but not that of the machine: what
  // is written here is checked when it is read, and can be made again.
  absl::Status Commit();

 private:
  OutputFile() = default;
  absl::Status Flush();

  std::string path_;
  std::string temporary_;
  int fd_ = -1;
  std::string buffer_;
  int64_t size_ = 0;
};

}  // namespace choir
