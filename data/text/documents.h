// Text corpora: <path>/{train,heldout}/<language>.jsonl, one document a line:
//   {"text": ..., "language": ..., "source": ..., "licence": ..., "group": ..., "id": ...}
// Documents with the same group belong together (translations of one another, say) and share a
// split.
#pragma once

#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/build/build_config.h"
#include "data/shard/corpus_index.h"

namespace choir {

struct TextDocument {
  std::string text;
  std::string language;
  std::string source;
  std::string group;
  std::string id;
};

// One file of a corpus.
struct TextFile {
  std::string path;
  Split split = Split::kTrain;
  std::string language;
  int64_t bytes = 0;
};

// The files of a corpus, ordered by language, train before heldout. Errors: a folder or a wanted
// language that is not there.
absl::StatusOr<std::vector<TextFile>> ListTextFiles(const CorpusConfig& config);

// Reads the documents of one file in order, one line in memory.
class DocumentReader {
 public:
  static absl::StatusOr<std::unique_ptr<DocumentReader>> Open(const TextFile& file);

  // The next document; false at the end. InvalidArgument `path:line: why` for a malformed record,
  // after which reading may go on with the next line.
  absl::StatusOr<bool> Next(TextDocument& document);
  // Line and length in bytes (of the JSON) of the last record.
  int64_t line() const { return line_; }
  int64_t line_bytes() const { return static_cast<int64_t>(buffer_.size()); }

 private:
  DocumentReader(const TextFile& file) : file_(file), stream_(file.path, std::ios::binary) {}
  absl::Status Malformed(const std::string& why) const;

  TextFile file_;
  std::ifstream stream_;
  std::string buffer_;
  int64_t line_ = 0;
};

// A share of the documents of about `max_bytes` of `total_bytes`, chosen by hash of the id: the
// same documents whatever their order, and a larger share holds every smaller one.
class DocumentSample {
 public:
  DocumentSample(int64_t max_bytes, int64_t total_bytes, int64_t seed);
  bool Contains(const TextDocument& document) const;

 private:
  uint64_t threshold_;
  uint64_t seed_;
};

}  // namespace choir
