// A token shard as a memory map. HDF5 is not needed to read it: the index says where the datasets
// lie, and nothing of the file is believed before its checksum was compared.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/shard/corpus_index.h"
#include "data/shard/shard_layout.h"

namespace choir {

class ShardReader {
 public:
  // Maps the file, and compares its size and the seal over all that is outside the arrays, the
  // table of checksums among it: a few small reads. DataLoss that names the file if it is not the
  // one that `info` describes.
  static absl::StatusOr<std::unique_ptr<ShardReader>> Open(const std::string& directory,
                                                           const ShardInfo& info);
  ~ShardReader();
  ShardReader(const ShardReader&) = delete;

  const std::string& path() const { return path_; }
  int64_t documents() const { return documents_; }
  int64_t tokens() const { return tokens_; }
  bool wide() const { return layout_.array(ShardArray::kTokens).element_bytes == 4; }
  const ShardLayout& layout() const { return layout_; }

  // Verifies the chunks that elements [first, first + count), count > 0, lie in, each once in the
  // life of the reader. DataLoss that names file, dataset, chunk and place. From any thread.
  absl::Status Check(ShardArray array, int64_t first, int64_t count) const {
    if (unverified_.load(std::memory_order_acquire) == 0) return absl::OkStatus();
    const ShardLayout::Place& place = layout_.array(array);
    const int64_t begin = first * place.element_bytes / kShardChunkBytes;
    const int64_t end = ((first + count) * place.element_bytes - 1) / kShardChunkBytes;
    for (int64_t chunk = begin; chunk <= end; ++chunk) {
      const int64_t bit = place.first_chunk + chunk;
      const uint64_t word = sound_[bit / 64].load(std::memory_order_acquire);
      if ((word >> (bit % 64) & 1) != 0) continue;
      if (absl::Status status = CheckChunk(array, chunk); !status.ok()) return status;
    }
    return absl::OkStatus();
  }
  // Compares one chunk, whether or not that was done before.
  absl::Status CheckChunk(ShardArray array, int64_t chunk) const;

  // Element i of an array of T. Call Check first.
  template <class T>
  T Get(ShardArray array, int64_t i) const {
    return static_cast<const T*>(Address(array, 0))[i];
  }
  // Where element `first` is mapped.
  const void* Address(ShardArray array, int64_t first) const {
    const ShardLayout::Place& place = layout_.array(array);
    return map_ + place.begin + first * place.element_bytes;
  }

 private:
  ShardReader() = default;
  absl::Status Map(const ShardInfo& info);
  absl::Status CheckSeal(const ShardInfo& info) const;

  std::string path_;
  int64_t documents_ = 0;
  int64_t tokens_ = 0;
  ShardLayout layout_;
  const char* map_ = nullptr;
  size_t map_bytes_ = 0;
  // A bit by chunk: verified and sound.
  std::unique_ptr<std::atomic<uint64_t>[]> sound_;
  mutable std::atomic<int64_t> unverified_ = 0;  // chunks whose bit is not set
};

}  // namespace choir
