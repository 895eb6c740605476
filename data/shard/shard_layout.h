// Where the arrays of a shard lie in its file, and how they are cut into chunks for checksums
// (docs/data.md). Arithmetic; no file is read.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace choir {

struct ShardInfo;

// The unit of checking: about what the system reads ahead from a disk, so that checking a chunk
// before its first use costs little reading that would not have been done anyway.
inline constexpr int64_t kShardChunkBytes = 65536;

enum class ShardArray { kTokens, kOffset, kLanguage, kSource, kBytes, kId, kGroup };
inline constexpr int kNumShardArrays = 7;
inline constexpr std::array<ShardArray, kNumShardArrays> kAllShardArrays = {
    ShardArray::kTokens, ShardArray::kOffset, ShardArray::kLanguage, ShardArray::kSource,
    ShardArray::kBytes,  ShardArray::kId,     ShardArray::kGroup};

// The name of its dataset.
const char* ShardArrayName(ShardArray array);
// Bytes of an element; `token_bytes` is 2 or 4.
int64_t ShardElementBytes(ShardArray array, int64_t token_bytes);

// Where the datasets of a shard begin in the file.
struct ShardAddresses {
  std::array<int64_t, kNumShardArrays> arrays = {};
  int64_t checksums = 0;  // u64 by chunk: those of tokens, then of offset, ... in the order above
};

class ShardLayout {
 public:
  struct Place {
    int64_t begin = 0;  // in the file
    int64_t bytes = 0;
    int64_t element_bytes = 0;
    int64_t first_chunk = 0;  // among the chunks of all arrays
    int64_t NumChunks() const { return (bytes + kShardChunkBytes - 1) / kShardChunkBytes; }
    // Bytes of the file that chunk `c` of this array covers.
    int64_t ChunkBegin(int64_t c) const { return begin + c * kShardChunkBytes; }
    int64_t ChunkEnd(int64_t c) const {
      return begin + std::min(bytes, (c + 1) * kShardChunkBytes);
    }
  };
  struct Range {
    int64_t begin = 0;
    int64_t end = 0;
  };

  // DataLoss if the arrays cannot lie where `info` says: outside the file, on one another, or not
  // aligned to their elements.
  static absl::StatusOr<ShardLayout> Of(const ShardInfo& info);

  const Place& array(ShardArray array) const { return arrays_[static_cast<size_t>(array)]; }
  int64_t num_chunks() const { return num_chunks_; }  // of all arrays
  int64_t checksums_begin() const { return checksums_begin_; }
  // What is outside the arrays, ascending: HDF5's own data, `meta`, `checksums` and gaps.
  const std::vector<Range>& outside() const { return outside_; }
  // The arrays in the order in which they lie in the file.
  const std::vector<ShardArray>& order() const { return order_; }

 private:
  std::array<Place, kNumShardArrays> arrays_;
  std::vector<ShardArray> order_;
  std::vector<Range> outside_;
  int64_t num_chunks_ = 0;
  int64_t checksums_begin_ = 0;
};

}  // namespace choir
