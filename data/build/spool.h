// Cleaned text on its way from the readers to the tokenizer: files in the build's work folder.
//
//   zstd frames, each the texts of consecutive documents of one language
//   table of SpoolDocument, in the order of the frames
//   JSON: languages, sources, blocks, report
//   u64 offset of the table, u64 of the JSON, u64 XXH3-64 of table and JSON, "choirsp1"
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/build/build_report.h"
#include "data/clean/dedup.h"
#include "data/text/documents.h"
#include "data/text/output_file.h"

struct ZSTD_CCtx_s;

namespace choir {

struct SpoolDocument {
  uint64_t id = 0;      // HashOf64 of TextDocument::id
  uint64_t group = 0;   // and of group
  uint64_t sample = 0;  // DocumentSample::HashOf
  DocumentKey key;      // without its highest bit, which is the split: held-out keys are smaller
  uint32_t bytes = 0;
  uint32_t characters = 0;
  uint32_t language = 0;  // indices into the tables of the file
  uint32_t source = 0;
};
static_assert(sizeof(SpoolDocument) == 56);

struct SpoolBlock {
  int64_t offset = 0;
  int64_t packed = 0;
  int64_t raw = 0;
  int64_t first = 0;  // document
  int64_t count = 0;
  uint32_t language = 0;
};

// Bounded memory: about 1 MiB by language, 32 MiB in all, and 56 bytes a document.
class SpoolWriter {
 public:
  static absl::StatusOr<std::unique_ptr<SpoolWriter>> Create(const std::string& path);
  ~SpoolWriter();

  // `document.language` and `.source` are set here.
  absl::Status Add(const TextDocument& text, SpoolDocument document);
  int64_t bytes() const { return bytes_; }  // of text

  // Publishes the file. `last`: no file of the same unit follows.
  absl::Status Finish(const BuildReport& report, bool last);

 private:
  struct Pending {
    std::string text;
    std::vector<SpoolDocument> documents;
  };

  explicit SpoolWriter(OutputFile file);
  absl::Status Flush(uint32_t language);
  absl::Status FlushLargest();

  OutputFile file_;
  ZSTD_CCtx_s* const context_;
  std::string packed_;
  std::map<std::string, uint32_t> language_ids_, source_ids_;
  std::vector<std::string> languages_, sources_;
  std::vector<Pending> pending_;  // by language
  size_t pending_bytes_ = 0;
  std::vector<SpoolDocument> table_;
  std::vector<SpoolBlock> blocks_;
  int64_t bytes_ = 0;
};

class SpoolFile {
 public:
  // DataLoss if the file is not whole.
  static absl::StatusOr<std::unique_ptr<SpoolFile>> Open(const std::string& path);

  const std::vector<std::string>& languages() const { return languages_; }
  const std::vector<std::string>& sources() const { return sources_; }
  const std::vector<SpoolBlock>& blocks() const { return blocks_; }
  int64_t num_documents() const { return num_documents_; }
  bool last() const { return last_; }
  // What was counted while the file was made; given away, because it is large.
  BuildReport TakeReport() { return std::move(report_); }

  // Any thread.
  absl::StatusOr<std::vector<SpoolDocument>> ReadTable() const;
  absl::StatusOr<std::vector<SpoolDocument>> ReadTable(const SpoolBlock& block) const;
  absl::StatusOr<std::string> ReadTexts(const SpoolBlock& block) const;

 private:
  explicit SpoolFile(std::string path) : path_(std::move(path)) {}
  absl::Status Load();
  absl::Status Damaged() const;

  const std::string path_;
  std::vector<std::string> languages_, sources_;
  std::vector<SpoolBlock> blocks_;
  int64_t table_offset_ = 0;
  int64_t num_documents_ = 0;
  bool last_ = false;
  BuildReport report_;
};

}  // namespace choir
