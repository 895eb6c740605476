// Random access to the documents of raw text: training straight from JSON lines reads them by
// (split, language, number).
//
// Each file is scanned once; where its documents lie is kept in a cache folder, by the file's path,
// size and time, and mapped into memory from there (32 bytes a document, none of them on the heap).
// Packed files are unpacked into the cache, because packed bytes cannot be entered in the middle.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/text/documents.h"

namespace choir {

class IndexedFile;
struct IndexEntry;

class TextIndex {
 public:
  // Scans what the cache does not know, several files at a time. Malformed records are left out and
  // counted. InvalidArgument for formats other than JSON lines, for more malformed records than
  // corpus.max_malformed allows, and where nothing is left; the errors of ListTextFiles,
  // ByteSource.
  static absl::StatusOr<std::shared_ptr<const TextIndex>> Open(const CorpusConfig& config,
                                                               const std::string& cache_directory);
  ~TextIndex();

  // Sorted. A document's language is an index into the first.
  const std::vector<std::string>& languages() const { return languages_; }
  const std::vector<std::string>& sources() const { return sources_; }

  // Documents of a language are ordered by the content of their files, and in a file as they stand:
  // what number stands for which document does not depend on the files' names or order.
  int64_t NumDocuments(Split split, int32_t language) const;
  int64_t NumBytes(Split split, int32_t language) const;  // of text
  int64_t TextBytes(Split split, int32_t language, int64_t i) const;
  int64_t num_malformed() const { return num_malformed_; }
  // `path:line: why` of the first few malformed records of each file.
  const std::vector<std::string>& malformed() const { return malformed_; }

  // Hash of all content and of how it is read: 32 hexadecimal digits.
  const std::string& fingerprint() const { return fingerprint_; }

  // Document i of a language. Any thread. DataLoss `path:line: why` if the file is no longer what
  // was indexed, NotFound if it is gone.
  absl::Status Read(Split split, int32_t language, int64_t i, TextDocument& document) const;

 private:
  // Documents of one language in one file.
  struct Part {
    const IndexedFile* file;
    int64_t first;   // entry of the file
    int64_t before;  // documents in the parts before
  };
  struct Documents {
    std::vector<Part> parts;
    int64_t count = 0;
    int64_t bytes = 0;
  };

  TextIndex() = default;
  // `wanted` languages; empty: all.
  void Assemble(const std::set<std::string>& wanted);
  const Documents& Of(Split split, int32_t language) const;
  const IndexEntry& Find(Split split, int32_t language, int64_t i, const IndexedFile*& file) const;

  std::vector<std::unique_ptr<IndexedFile>> files_;
  std::vector<std::string> languages_;
  std::vector<std::string> sources_;
  std::vector<Documents> documents_[kNumSplits];
  std::vector<std::string> malformed_;
  int64_t num_malformed_ = 0;
  std::string fingerprint_;
};

}  // namespace choir
