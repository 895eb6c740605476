// Lines of a text file, plain or packed, in bounded memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "data/text/byte_source.h"

namespace choir {

class LineReader {
 public:
  // A longer line is skipped, not kept in memory.
  static constexpr size_t kMaxLineBytes = size_t{64} << 20;
  // Bytes behind a line that may be read (simdjson wants them); they hold anything.
  static constexpr size_t kPadding = 64;

  explicit LineReader(std::unique_ptr<ByteSource> source, size_t max_line_bytes = kMaxLineBytes);

  // The next line, without its line feed, until the next call; false at the end. Errors are those
  // of ByteSource.
  absl::StatusOr<bool> Next(std::string_view& line);

  // Of the last line: where it begins in the unpacked bytes, its length, and whether it was too
  // long and therefore given as empty.
  int64_t offset() const { return offset_; }
  int64_t bytes() const { return bytes_; }
  bool too_long() const { return too_long_; }
  // Whether the last line ended with a line feed: the last one of a file may not.
  bool has_feed() const { return next_offset_ > offset_ + bytes_; }

 private:
  absl::StatusOr<bool> Fill();
  absl::StatusOr<bool> SkipLine();

  std::unique_ptr<ByteSource> source_;
  const size_t max_line_bytes_;
  std::vector<char> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  bool at_end_ = false;
  int64_t next_offset_ = 0;
  int64_t offset_ = 0;
  int64_t bytes_ = 0;
  bool too_long_ = false;
};

}  // namespace choir
