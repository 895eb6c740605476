#include "data/text/indexed_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/text/byte_source.h"
#include "data/text/file_stamp.h"
#include "data/text/index_scan.h"
#include "data/text/json_record.h"
#include "data/text/line_reader.h"

namespace choir {
namespace {

constexpr size_t kHeaderBytes = 24;  // magic, length and hash

// A name in the cache for a file and the settings that its records are read with.
std::string KeyOf(const TextFile& file) {
  const FieldNames& f = file.fields;
  const std::string path = std::filesystem::absolute(file.path).lexically_normal();
  const nlohmann::json key = {path,     file.path,  file.language, file.source, f.text,
                              f.source, f.language, f.group,       f.id};
  return ToHex(HashOf128(key.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
}

absl::Status ReadAt(int fd, const std::string& path, uint64_t offset, std::string& bytes,
                    size_t count) {
  for (size_t done = 0; done < count;) {
    const ssize_t got =
        pread(fd, bytes.data() + done, count - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(path, "read", errno);
    if (got == 0) return absl::DataLossError(StrCat(path, ": ends inside a record"));
    done += static_cast<size_t>(got);
  }
  return absl::OkStatus();
}

}  // namespace

IndexedFile::~IndexedFile() = default;

absl::StatusOr<std::unique_ptr<IndexedFile>> IndexedFile::Open(const TextFile& file,
                                                               const std::string& cache_directory) {
  std::unique_ptr<IndexedFile> indexed(new IndexedFile());
  indexed->file_ = file;
  const std::string base = StrCat(cache_directory, "/", KeyOf(file));
  indexed->index_path_ = base + ".index";
  ASSIGN_OR_RETURN(const Compression compression, CompressionOf(file.path));
  indexed->text_path_ = compression == Compression::kNone ? file.path : base + ".jsonl";
  ASSIGN_OR_RETURN(const bool known, indexed->Load());
  if (known) return indexed;
  RETURN_IF_ERROR(ScanFile(file, indexed->index_path_, indexed->text_path_));
  ASSIGN_OR_RETURN(const bool written, indexed->Load());
  if (!written) {
    return absl::DataLossError(
        StrCat(indexed->index_path_, ": is not what was written a moment ago"));
  }
  return indexed;
}

// False if there is no index of the file as it is now.
absl::StatusOr<bool> IndexedFile::Load() {
  absl::StatusOr<MappedFile> map = MappedFile::Open(index_path_);
  if (!map.ok()) return false;
  const std::string_view bytes = map->bytes();
  if (bytes.size() < kHeaderBytes || bytes.substr(0, 8) != std::string_view(kIndexMagic, 8)) {
    return false;
  }
  uint64_t numbers[2];
  std::memcpy(numbers, bytes.data() + 8, sizeof(numbers));
  const std::string_view body = bytes.substr(kHeaderBytes);
  if (numbers[0] > body.size() || HashOf64(body) != numbers[1]) return false;
  ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(file_.path));
  // A sealed index was written by ScanFile: only a fault of ours can throw here.
  try {
    const auto json = nlohmann::json::parse(body.substr(0, numbers[0]));
    if (!(FileStamp{json.at("size"), json.at("time")} == stamp)) return false;
    const FileStamp text{json.at("text_size"), json.at("text_time")};
    const absl::StatusOr<FileStamp> now = StampOf(text_path_);
    if (!now.ok() || !(*now == text)) return false;
    text_size_ = text.size;
    text_time_ = text.time;
    content_ = json.at("content");
    names_by_path_ = json.at("names_by_path");
    for (const auto& language : json.at("languages")) {
      languages_.push_back({language.at(0), language.at(1), language.at(2), language.at(3)});
    }
    sources_ = json.at("sources").get<std::vector<std::string>>();
    num_malformed_ = json.at("num_malformed");
    malformed_ = json.at("malformed").get<std::vector<std::string>>();
  } catch (const nlohmann::json::exception& error) {
    return absl::DataLossError(StrCat(index_path_, ": ", error.what()));
  }
  entries_ = reinterpret_cast<const IndexEntry*>(body.data() + numbers[0]);
  map_ = *std::move(map);
  return true;
}

absl::Status IndexedFile::Read(const IndexEntry& entry, TextDocument& document) const {
  const auto changed = [&](std::string_view what) {
    return absl::DataLossError(StrCat(file_.path, ":", entry.line, ": ", what,
                                      " since it was indexed; start again with the file as it was, "
                                      "or anew with the file as it is"));
  };
  const int fd = open(text_path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FileError(text_path_, "open", errno);
  struct stat info {};
  thread_local std::string buffer;
  buffer.resize(entry.record_bytes + LineReader::kPadding);
  absl::Status status;
  if (fstat(fd, &info) != 0) {
    status = FileError(text_path_, "examine", errno);
  } else if (info.st_size != text_size_ ||
             info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec != text_time_) {
    status = changed("the file changed");
  } else {
    status = ReadAt(fd, text_path_, entry.offset, buffer, entry.record_bytes);
  }
  close(fd);
  RETURN_IF_ERROR(status);
  JsonRecordParser parser(file_);
  status =
      parser.Parse({buffer.data(), entry.record_bytes}, static_cast<int64_t>(entry.line), document);
  if (absl::IsInvalidArgument(status)) return changed("the record changed");
  RETURN_IF_ERROR(status);
  if (document.text.size() != entry.text_bytes) return changed("the record changed");
  return absl::OkStatus();
}

}  // namespace choir
