// The scan behind IndexedFile.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "data/text/documents.h"

namespace choir {

inline constexpr const char kIndexMagic[] = "choirtx1";

// What the JSON of an index says about a file: enough to see that it is another one.
struct FileStamp {
  int64_t size = 0;
  int64_t time = 0;  // of its last change, in nanoseconds since 1970
  bool operator==(const FileStamp&) const = default;
};
absl::StatusOr<FileStamp> StampOf(const std::string& path);

// Reads `file` once and writes its index; a packed file is unpacked into `text_path`, which is
// the file's own path otherwise. Bounded memory.
absl::Status ScanFile(const TextFile& file, const std::string& index_path,
                      const std::string& text_path);

}  // namespace choir
