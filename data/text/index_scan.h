// The scan behind IndexedFile.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "data/text/documents.h"

namespace choir {

inline constexpr const char kIndexMagic[] = "choirtx1";

// Reads `file` once and writes its index; a packed file is unpacked into `text_path`, which is
// the file's own path otherwise. Bounded memory.
absl::Status ScanFile(const TextFile& file, const std::string& index_path,
                      const std::string& text_path);

}  // namespace choir
