// Documents of a text corpus, read one after another from files of any format.
//
// A record of JSON lines is an object with the fields named by FieldNames:
//   {"text": ..., "language": ..., "source": ..., "group": ..., "id": ...}
// Documents with the same group belong together (translations of one another, say) and share a
// split.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/text/corpus_config.h"

namespace choir {

struct TextDocument {
  std::string text;  // may hold bytes that are not UTF-8; the others do not
  std::string language;
  std::string source;
  std::string group;
  std::string id;
};

// Shards keep 64 bits of ids and groups. A name of "#" and 16 hexadecimal digits is such a hash
// itself: so documents of shards are named, by `choir data peek` too.
std::optional<uint64_t> HashInName(std::string_view name);
// That hash, or XXH3-64 of any other name.
uint64_t HashOfName(std::string_view name);

// One file of a corpus and how it is read.
struct TextFile {
  std::string path;
  Split split = Split::kTrain;
  std::string language;  // of all its documents; empty: each record names its own
  int64_t bytes = 0;     // of the file, packed or not
  TextFormat format = TextFormat::kJsonl;
  std::string source;  // of documents that name none; empty: the file's name without extension
  TextUnit unit = TextUnit::kFile;
  FieldNames fields;
  bool needs_language = true;  // a record that names no language is malformed
  std::string tokenizer;       // of token shards; empty: the one kept beside them
};

// Part of a plain file of JSON lines that begins and ends with a line.
struct TextBlock {
  int64_t begin = 0;
  int64_t end = -1;  // negative: the end of the file
  int64_t lines_before = 0;
};

// Reads the documents of one file in order, in bounded memory (LineReader::kMaxLineBytes).
class DocumentReader {
 public:
  // InvalidArgument for token shards, which data/build/shard_inputs.h opens.
  static absl::StatusOr<std::unique_ptr<DocumentReader>> Open(const TextFile& file);
  static absl::StatusOr<std::unique_ptr<DocumentReader>> Open(const TextFile& file,
                                                              const TextBlock& block);
  virtual ~DocumentReader() = default;

  // The next document; false at the end. InvalidArgument `path:line: why` for a malformed record,
  // after which reading may go on with the next one; any other error ends the file.
  virtual absl::StatusOr<bool> Next(TextDocument& document) = 0;
  // Line (of other formats: number of the record, from 1) and length in bytes of the last record.
  virtual int64_t line() const = 0;
  virtual int64_t line_bytes() const = 0;
};

// A share of the documents of about `max_bytes` of `total_bytes`, chosen by hash of the id: the
// same documents whatever their order, and a larger share holds every smaller one.
class DocumentSample {
 public:
  DocumentSample(int64_t max_bytes, int64_t total_bytes, int64_t seed);
  bool Contains(const TextDocument& document) const { return Contains(HashOf(seed_, document.id)); }

  // Where a document stands in the order by which shares are taken.
  static uint64_t HashOf(int64_t seed, std::string_view id);
  bool Contains(uint64_t hash) const { return everything_ || hash < threshold_; }

 private:
  int64_t seed_;
  bool everything_;
  uint64_t threshold_ = 0;
};

}  // namespace choir
