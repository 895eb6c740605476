// Writing token shards: HDF5 files of contiguous datasets (docs/data.md).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/shard/corpus_index.h"
#include "data/shard/shard_layout.h"

namespace choir {

struct ShardDocument {
  int32_t language = 0;
  int32_t source = 0;
  int64_t bytes = 0;  // of the text, below 2^32
  uint64_t id = 0;
  uint64_t group = 0;
};

// An array that grows at its end, in the chunks that are checksummed.
class ChunkedArray {
 public:
  void Append(std::string_view bytes);
  int64_t bytes() const;
  // All chunks are kShardChunkBytes long but the last.
  const std::vector<std::string>& chunks() const { return chunks_; }

 private:
  std::vector<std::string> chunks_;
};

// Collects documents in memory (2 or 4 bytes a token, 32 bytes a document; no copy of them is made)
// and writes them as one file. Documents of a language must come one after another.
class ShardWriter {
 public:
  ShardWriter(Split split, const TokenizerInfo& tokenizer);

  void Add(const ShardDocument& document, std::span<const int32_t> tokens);
  int64_t documents() const { return documents_; }
  int64_t tokens() const { return tokens_; }

  // Writes `directory/file` atomically, with the tables as they are now, and starts anew. At least
  // one document must have been added.
  absl::StatusOr<ShardInfo> Finish(const std::string& directory, const std::string& file,
                                   const CorpusIndex& tables);

 private:
  int64_t token_bytes() const { return tokenizer_.vocab_size > 65536 ? 4 : 2; }
  std::string Meta(const CorpusIndex& tables) const;
  ChunkedArray& array(ShardArray array) { return arrays_[static_cast<size_t>(array)]; }

  Split split_;
  TokenizerInfo tokenizer_;
  int64_t documents_ = 0;
  int64_t tokens_ = 0;
  std::array<ChunkedArray, kNumShardArrays> arrays_;
  std::vector<ShardRun> runs_;
};

// Whether HDF5 finds in a shard what the index says: datasets of these types and sizes at these
// places. For a file whose checksums were all verified. DataLoss names what differs.
absl::Status CompareWithHdf5(const std::string& directory, const ShardInfo& info);

}  // namespace choir
