// Plain text files: the whole file, its paragraphs or its pages are documents.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "data/text/documents.h"

namespace choir {

// Documents are cut at lines without any character but white space (paragraphs) or at form feeds
// (pages); those of white space alone are none. One above LineReader::kMaxLineBytes is malformed.
absl::StatusOr<std::unique_ptr<DocumentReader>> OpenPlainText(const TextFile& file);

}  // namespace choir
