// One record of JSON lines.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "data/text/documents.h"

namespace choir {

// Parses records of one file; one thread at a time. The whole line is checked, not only the fields
// that are taken. Bytes that are not UTF-8 are let through in the text alone, each as 0xFF, for the
// cleaner to repair or reject.
class JsonRecordParser {
 public:
  // Keeps a reference to `file`.
  explicit JsonRecordParser(const TextFile& file);
  ~JsonRecordParser();

  // `line` is followed by LineReader::kPadding bytes that may be read; `number` counts from 1.
  // InvalidArgument `path:number: why` if it is malformed.
  absl::Status Parse(std::string_view line, int64_t number, TextDocument& document);

  absl::Status Malformed(int64_t number, const std::string& why) const;

 private:
  struct Parser;

  // Of valid UTF-8, in which kStandIn may stand for bytes that were none.
  absl::Status ParseValid(std::string_view line, int64_t number, TextDocument& document);

  const TextFile& file_;
  const std::string source_;
  std::unique_ptr<Parser> parser_;
};

// What names the documents of a file that do not name themselves.
std::string DefaultSource(const TextFile& file);
std::string DefaultId(const TextFile& file, int64_t number);

}  // namespace choir
