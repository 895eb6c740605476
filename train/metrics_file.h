// `metrics.jsonl`: one JSON object a line, appended and flushed at once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "train/json_line.h"

namespace choir {

class MetricsFile {
 public:
  // Opens for appending. Lines of steps after `last_step` are removed first, and so is a last line
  // without its end: a resumed run writes them again.
  static absl::StatusOr<std::unique_ptr<MetricsFile>> Open(const std::string& path,
                                                           int64_t last_step);
  ~MetricsFile();
  MetricsFile(const MetricsFile&) = delete;

  absl::Status Write(const JsonLine& line);

 private:
  MetricsFile(std::string path, int file) : path_(std::move(path)), file_(file) {}
  std::string path_;
  int file_;
};

}  // namespace choir
