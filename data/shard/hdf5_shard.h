// Token shards: HDF5 files of contiguous datasets (docs/data.md), written whole and read through a
// memory map. The checksum of the file is verified before HDF5 looks into it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/shard/corpus_index.h"

namespace choir {

struct ShardDocument {
  int32_t language = 0;
  int32_t source = 0;
  int64_t bytes = 0;  // of the text, below 2^32
  uint64_t id = 0;
  uint64_t group = 0;
};

// Collects documents in memory (2 or 4 bytes a token) and writes them as one file. Documents of a
// language must come one after another.
class ShardWriter {
 public:
  ShardWriter(Split split, const TokenizerInfo& tokenizer) : split_(split), tokenizer_(tokenizer) {}

  void Add(const ShardDocument& document, std::span<const int32_t> tokens);
  int64_t documents() const { return static_cast<int64_t>(id_.size()); }
  int64_t tokens() const { return static_cast<int64_t>(offset_.back()); }

  // Writes `directory/file` atomically, with the tables as they are now, and starts anew.
  absl::StatusOr<ShardInfo> Finish(const std::string& directory, const std::string& file,
                                   const CorpusIndex& tables);

 private:
  bool wide() const { return tokenizer_.vocab_size > 65536; }
  std::string Meta(const CorpusIndex& tables) const;

  Split split_;
  TokenizerInfo tokenizer_;
  std::vector<uint16_t> narrow_tokens_;
  std::vector<uint32_t> wide_tokens_;
  std::vector<uint64_t> offset_ = {0};
  std::vector<uint16_t> language_;
  std::vector<uint16_t> source_;
  std::vector<uint32_t> bytes_;
  std::vector<uint64_t> id_;
  std::vector<uint64_t> group_;
  std::vector<ShardRun> runs_;
};

// A shard in memory-mapped form.
class ShardReader {
 public:
  // DataLoss that names the file if it is not the one that `info` describes.
  static absl::StatusOr<std::unique_ptr<ShardReader>> Open(const std::string& directory,
                                                           const ShardInfo& info, bool wide);
  ~ShardReader();
  ShardReader(const ShardReader&) = delete;

  bool wide() const { return wide_; }
  const void* tokens(uint64_t first) const {
    return static_cast<const char*>(tokens_) + first * (wide_ ? 4 : 2);
  }
  std::span<const uint64_t> offset() const { return offset_; }  // documents + 1
  std::span<const uint16_t> language() const { return language_; }
  std::span<const uint16_t> source() const { return source_; }
  std::span<const uint32_t> bytes() const { return bytes_; }
  std::span<const uint64_t> id() const { return id_; }
  std::span<const uint64_t> group() const { return group_; }

 private:
  ShardReader() = default;
  absl::Status Map(const std::string& path, const ShardInfo& info);
  absl::Status Locate(const std::string& path, const ShardInfo& info);

  void* map_ = nullptr;
  size_t map_bytes_ = 0;
  bool wide_ = false;
  const void* tokens_ = nullptr;
  std::span<const uint64_t> offset_;
  std::span<const uint16_t> language_;
  std::span<const uint16_t> source_;
  std::span<const uint32_t> bytes_;
  std::span<const uint64_t> id_;
  std::span<const uint64_t> group_;
};

}  // namespace choir
