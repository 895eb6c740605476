// The readers of text: JSON lines as a whole and in blocks, and plain text by paragraphs.
#include "base/check.h"
#include "data/text/byte_source.h"
#include "data/text/documents.h"
#include "tests/fuzz/fuzz_input.h"

namespace choir {
namespace {

// Reads to the end; malformed records are no end. Returns how many there were in all.
int64_t ReadAll(DocumentReader& reader) {
  TextDocument document;
  for (int64_t records = 0;; ++records) {
    const absl::StatusOr<bool> more = reader.Next(document);
    if (more.ok() && !*more) return records;
    CHECK(more.ok() || absl::IsInvalidArgument(more.status())) << more.status();
  }
}

}  // namespace
}  // namespace choir

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace choir;
  const std::string_view bytes = FuzzBytes(data, size);
  TextFile file{WriteFuzzFile("text.jsonl", bytes), Split::kTrain, "", static_cast<int64_t>(size)};
  if (CompressionOf(file.path).value() == Compression::kNone) {
    const int64_t records = ReadAll(*DocumentReader::Open(file).value());
    // Cut behind any line, the blocks hold the same records.
    const size_t feed = bytes.find('\n', size / 2);
    if (feed != bytes.npos) {
      const auto cut = static_cast<int64_t>(feed) + 1;
      const int64_t first = ReadAll(*DocumentReader::Open(file, {0, cut, 0}).value());
      const int64_t second = ReadAll(*DocumentReader::Open(file, {cut, -1, 0}).value());
      CHECK(first + second == records) << first << " and " << second << " of " << records;
    }
  }
  file.format = TextFormat::kText;
  file.language = "en";
  file.unit = size % 2 == 0 ? TextUnit::kParagraph : TextUnit::kPage;
  const auto reader = DocumentReader::Open(file);
  TextDocument document;
  while (reader.ok()) {
    const absl::StatusOr<bool> more = (*reader)->Next(document);
    if (!more.ok() || !*more) break;
  }
  return 0;
}
