#include "train/metrics_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/status.h"
#include "base/strings.h"

namespace choir {
namespace {

// The whole lines of `text` whose step is at most `last_step`.
absl::StatusOr<std::string> KeepUpTo(const std::string& path, const std::string& text,
                                     int64_t last_step) {
  std::string kept;
  size_t begin = 0;
  for (int line = 1; begin < text.size(); ++line) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;  // cut off by a kill
    const std::string one = text.substr(begin, end - begin);
    const nlohmann::json object = nlohmann::json::parse(one, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object() || !object.contains("step") || !object["step"].is_number_integer()) {
      return absl::DataLossError(StrCat(path, ":", line, ":1: is not a line of metrics"));
    }
    if (object["step"].get<int64_t>() <= last_step) kept += one + "\n";
    begin = end + 1;
  }
  return kept;
}

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsFile>> MetricsFile::Open(const std::string& path,
                                                               int64_t last_step) {
  if (std::filesystem::exists(path)) {
    ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
    ASSIGN_OR_RETURN(const std::string kept, KeepUpTo(path, text, last_step));
    if (kept != text) RETURN_IF_ERROR(WriteFileAtomic(path, kept));
  }
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (file < 0) return FileError(path, "open", errno);
  return std::unique_ptr<MetricsFile>(new MetricsFile(path, file));
}

MetricsFile::~MetricsFile() { close(file_); }

absl::Status MetricsFile::Write(const JsonLine& line) {
  const std::string text = line.text() + "\n";
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = write(file_, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FileError(path_, "write", errno);
    done += static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

}  // namespace choir
