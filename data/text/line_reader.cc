#include "data/text/line_reader.h"

#include <algorithm>
#include <cstring>

#include "base/status.h"

namespace choir {
namespace {

constexpr size_t kReadBytes = size_t{1} << 20;

}  // namespace

LineReader::LineReader(std::unique_ptr<ByteSource> source, size_t max_line_bytes)
    : source_(std::move(source)),
      max_line_bytes_(max_line_bytes),
      buffer_(std::min(kReadBytes, max_line_bytes) + kPadding) {}

// Reads on behind what is there; false at the end.
absl::StatusOr<bool> LineReader::Fill() {
  if (at_end_) return false;
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ + kPadding == buffer_.size()) buffer_.resize(2 * end_ + kPadding);
  ASSIGN_OR_RETURN(const size_t got,
                   source_->Read(buffer_.data() + end_, buffer_.size() - kPadding - end_));
  end_ += got;
  at_end_ = got == 0;
  return !at_end_;
}

absl::StatusOr<bool> LineReader::Next(std::string_view& line) {
  too_long_ = false;
  offset_ = next_offset_;
  size_t searched = 0;
  while (true) {
    const char* const start = buffer_.data() + begin_;
    const void* const feed = std::memchr(start + searched, '\n', end_ - begin_ - searched);
    if (feed != nullptr) {
      line = {start, static_cast<size_t>(static_cast<const char*>(feed) - start)};
      begin_ += line.size() + 1;
      next_offset_ += static_cast<int64_t>(line.size()) + 1;
      bytes_ = static_cast<int64_t>(line.size());
      too_long_ = line.size() > max_line_bytes_;
      if (too_long_) line = {};
      return true;
    }
    searched = end_ - begin_;
    if (searched > max_line_bytes_) {
      line = {};
      return SkipLine();
    }
    ASSIGN_OR_RETURN(const bool more, Fill());
    if (more) continue;
    line = {buffer_.data() + begin_, searched};
    begin_ = end_;
    next_offset_ += static_cast<int64_t>(searched);
    bytes_ = static_cast<int64_t>(searched);
    return searched > 0;  // at most max_line_bytes_
  }
}

absl::StatusOr<bool> LineReader::SkipLine() {
  too_long_ = true;
  bytes_ = 0;
  while (true) {
    const char* const start = buffer_.data() + begin_;
    const void* const feed = std::memchr(start, '\n', end_ - begin_);
    const size_t length = feed == nullptr
                              ? end_ - begin_
                              : static_cast<size_t>(static_cast<const char*>(feed) - start);
    bytes_ += static_cast<int64_t>(length);
    begin_ += length + (feed != nullptr);
    next_offset_ += static_cast<int64_t>(length) + (feed != nullptr);
    if (feed != nullptr) return true;
    ASSIGN_OR_RETURN(const bool more, Fill());
    if (!more) return true;
  }
}

}  // namespace choir
