#include "data/text/documents.h"

#include <charconv>
#include <cmath>

#include "base/hash.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/text/json_record.h"
#include "data/text/line_reader.h"
#include "data/text/plain_text_reader.h"

namespace choir {
namespace {

class JsonLinesReader : public DocumentReader {
 public:
  JsonLinesReader(const TextFile& file, std::unique_ptr<ByteSource> source, int64_t lines_before)
      : file_(file), lines_(std::move(source)), parser_(file_), line_(lines_before) {}

  absl::StatusOr<bool> Next(TextDocument& document) override {
    std::string_view line;
    ASSIGN_OR_RETURN(const bool more, lines_.Next(line));
    if (!more) return false;
    ++line_;
    if (lines_.too_long()) {
      return parser_.Malformed(line_, StrCat("a line of ", lines_.bytes(), " bytes, at most ",
                                             LineReader::kMaxLineBytes, " are read"));
    }
    RETURN_IF_ERROR(parser_.Parse(line, line_, document));
    return true;
  }
  int64_t line() const override { return line_; }
  int64_t line_bytes() const override { return lines_.bytes(); }

 private:
  const TextFile file_;
  LineReader lines_;
  JsonRecordParser parser_;
  int64_t line_;
};

}  // namespace

std::optional<uint64_t> HashInName(std::string_view name) {
  if (name.size() != 17 || name[0] != '#') return std::nullopt;
  uint64_t hash = 0;
  const char* const end = name.data() + name.size();
  const auto result = std::from_chars(name.data() + 1, end, hash, 16);
  if (result.ec != std::errc() || result.ptr != end) return std::nullopt;
  return hash;
}

uint64_t HashOfName(std::string_view name) {
  const std::optional<uint64_t> hash = HashInName(name);
  return hash ? *hash : HashOf64(name);
}

absl::StatusOr<std::unique_ptr<DocumentReader>> DocumentReader::Open(const TextFile& file) {
  if (file.format == TextFormat::kShards) {
    return absl::InvalidArgumentError(
        StrCat(file.path,
               ": holds token shards; only `choir data build` and `choir tokenizer "
               "train` read text from them"));
  }
  if (file.format == TextFormat::kText) return OpenPlainText(file);
  ASSIGN_OR_RETURN(std::unique_ptr<ByteSource> source, OpenBytes(file.path));
  return std::make_unique<JsonLinesReader>(file, std::move(source), 0);
}

absl::StatusOr<std::unique_ptr<DocumentReader>> DocumentReader::Open(const TextFile& file,
                                                                     const TextBlock& block) {
  ASSIGN_OR_RETURN(std::unique_ptr<ByteSource> source,
                   OpenPlainBytes(file.path, block.begin, block.end));
  return std::make_unique<JsonLinesReader>(file, std::move(source), block.lines_before);
}

DocumentSample::DocumentSample(int64_t max_bytes, int64_t total_bytes, int64_t seed)
    : seed_(seed), everything_(max_bytes >= total_bytes) {
  const double share = static_cast<double>(max_bytes) / static_cast<double>(total_bytes);
  if (!everything_) threshold_ = static_cast<uint64_t>(std::ldexp(share, 64));
}

uint64_t DocumentSample::HashOf(int64_t seed, std::string_view id) {
  return HashOf64(StrCat(seed, "/", id));
}

}  // namespace choir
