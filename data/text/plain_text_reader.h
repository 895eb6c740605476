// Plain text files: the whole file, its paragraphs or its pages are documents.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "data/text/documents.h"

namespace choir {

// Documents are cut at lines without any character but white space (paragraphs) or at form feeds
// (pages); those of white space alone are none. One that is not UTF-8 is malformed, as is one above
// LineReader::kMaxLineBytes.
absl::StatusOr<std::unique_ptr<DocumentReader>> OpenPlainText(const TextFile& file);

}  // namespace choir
