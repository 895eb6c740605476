#include "data/text/plain_text_reader.h"

#include "base/status.h"
#include "base/strings.h"
#include "data/text/json_record.h"
#include "data/text/line_reader.h"

namespace choir {
namespace {

constexpr const char* kWhite = " \t\r\n\f\v";

class PlainTextReader : public DocumentReader {
 public:
  PlainTextReader(const TextFile& file, std::unique_ptr<ByteSource> source)
      : file_(file), source_(DefaultSource(file)), lines_(std::move(source)) {}

  absl::StatusOr<bool> Next(TextDocument& document) override {
    bool any = true;
    do {
      text_.clear();
      bytes_ = 0;
      ASSIGN_OR_RETURN(any, Collect());
    } while (any && text_.find_first_not_of(kWhite) == std::string::npos && bytes_ <= kMaxBytes);
    if (!any) return false;
    if (bytes_ > kMaxBytes) {
      return Malformed(
          StrCat("a document of ", bytes_, " bytes, at most ", kMaxBytes, " are read"));
    }
    document.text.swap(text_);
    document.language = file_.language;
    document.source = source_;
    document.id = DefaultId(file_, line_);
    document.group = document.id;
    return true;
  }
  int64_t line() const override { return line_; }
  int64_t line_bytes() const override { return bytes_; }

 private:
  static constexpr int64_t kMaxBytes = static_cast<int64_t>(LineReader::kMaxLineBytes);

  absl::Status Malformed(const std::string& why) const {
    return absl::InvalidArgumentError(StrCat(file_.path, ":", line_, ": ", why));
  }

  void Count(int64_t bytes) {
    if (bytes_ == 0) line_ = lines_read_;
    bytes_ += bytes;
  }

  // Keeps what a document may hold, counts all.
  void Append(std::string_view part) {
    Count(static_cast<int64_t>(part.size()));
    if (bytes_ > kMaxBytes) return text_.clear();
    text_ += part;
  }

  // Lines up to the end of a document; false at the end of the file.
  absl::StatusOr<bool> Collect() {
    while (true) {
      if (rest_.empty()) {
        std::string_view line;
        ASSIGN_OR_RETURN(const bool more, lines_.Next(line));
        if (!more) return bytes_ > 0;
        ++lines_read_;
        if (lines_.too_long()) Count(lines_.bytes());
        rest_ = line;
        if (lines_.has_feed()) rest_ += '\n';
      }
      const size_t feed = file_.unit == TextUnit::kPage ? rest_.find('\f') : std::string::npos;
      if (feed != std::string::npos) {
        Append(std::string_view(rest_).substr(0, feed));
        rest_.erase(0, feed + 1);
        if (bytes_ > 0) return true;
        continue;
      }
      const bool blank = rest_.find_first_not_of(kWhite) == std::string::npos;
      if (file_.unit == TextUnit::kParagraph && blank) {
        rest_.clear();
        if (bytes_ > 0) return true;
        continue;
      }
      Append(rest_);
      rest_.clear();
    }
  }

  const TextFile file_;
  const std::string source_;
  LineReader lines_;
  std::string rest_;  // of the last line
  std::string text_;
  int64_t bytes_ = 0;
  int64_t lines_read_ = 0;
  int64_t line_ = 0;  // where the document begins
};

}  // namespace

absl::StatusOr<std::unique_ptr<DocumentReader>> OpenPlainText(const TextFile& file) {
  ASSIGN_OR_RETURN(std::unique_ptr<ByteSource> source, OpenBytes(file.path));
  return std::make_unique<PlainTextReader>(file, std::move(source));
}

}  // namespace choir
