// Where the documents of one file of JSON lines lie: a file in the cache folder of TextIndex.
//
//   "choirtx1"  u64 length of the JSON  u64 XXH3-64 of the JSON and the entries
//   JSON, filled up with spaces to a multiple of 8   {size, mtime, content, malformed ...}
//   entries of 32 bytes, ordered by language, then by place
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/text/documents.h"
#include "data/text/mapped_file.h"

namespace choir {

struct IndexEntry {
  uint64_t offset;  // of the record in the unpacked file
  uint64_t line;
  uint32_t record_bytes;
  uint32_t text_bytes;
  uint32_t source;
  uint32_t language;
};
static_assert(sizeof(IndexEntry) == 32);

struct IndexedLanguage {
  std::string name;
  int64_t first = 0;  // entry
  int64_t count = 0;
  int64_t bytes = 0;  // of text
};

class IndexedFile {
 public:
  // Takes the index from the cache, or scans the file and puts it there.
  static absl::StatusOr<std::unique_ptr<IndexedFile>> Open(const TextFile& file,
                                                           const std::string& cache_directory);
  ~IndexedFile();
  IndexedFile(const IndexedFile&) = delete;

  const TextFile& file() const { return file_; }
  const std::vector<IndexedLanguage>& languages() const { return languages_; }
  const std::vector<std::string>& sources() const { return sources_; }
  const std::string& content() const { return content_; }  // hash of the unpacked bytes
  bool names_by_path() const { return names_by_path_; }    // some ids are `path:line`
  int64_t num_malformed() const { return num_malformed_; }
  const std::vector<std::string>& malformed() const { return malformed_; }  // the first few
  const IndexEntry& entry(int64_t i) const { return entries_[i]; }

  absl::Status Read(const IndexEntry& entry, TextDocument& document) const;

 private:
  IndexedFile() = default;
  absl::StatusOr<bool> Load();

  TextFile file_;
  std::string index_path_;
  std::string text_path_;  // what is read: the file, or what it was unpacked to
  int64_t text_size_ = 0;
  int64_t text_time_ = 0;
  MappedFile map_;
  const IndexEntry* entries_ = nullptr;
  std::vector<IndexedLanguage> languages_;
  std::vector<std::string> sources_;
  std::string content_;
  bool names_by_path_ = false;
  int64_t num_malformed_ = 0;
  std::vector<std::string> malformed_;
};

}  // namespace choir
