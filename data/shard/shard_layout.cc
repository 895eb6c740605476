#include "data/shard/shard_layout.h"

#include "base/status.h"
#include "base/strings.h"
#include "data/shard/corpus_index.h"

namespace choir {
namespace {

constexpr int64_t kMostElements = int64_t{1} << 48;  // times 8 bytes stays far inside 64 bits

int64_t NumElements(ShardArray array, const ShardInfo& info) {
  if (array == ShardArray::kTokens) return info.tokens;
  return array == ShardArray::kOffset ? info.documents + 1 : info.documents;
}

bool Fits(int64_t begin, int64_t bytes, int64_t alignment, const ShardInfo& info) {
  return begin >= 0 && begin % alignment == 0 && begin <= info.file_bytes &&
         bytes <= info.file_bytes - begin;
}

}  // namespace

const char* ShardArrayName(ShardArray array) {
  constexpr const char* kNames[] = {"tokens", "offset", "language", "source",
                                    "bytes",  "id",     "group"};
  return kNames[static_cast<size_t>(array)];
}

int64_t ShardElementBytes(ShardArray array, int64_t token_bytes) {
  constexpr int64_t kBytes[] = {0, 8, 2, 2, 4, 8, 8};
  return array == ShardArray::kTokens ? token_bytes : kBytes[static_cast<size_t>(array)];
}

absl::StatusOr<ShardLayout> ShardLayout::Of(const ShardInfo& info) {
  const absl::Status impossible = absl::DataLossError(
      StrCat(info.file, ": damaged: the index says that its datasets lie where they cannot"));
  if (info.documents < 1 || info.tokens < info.documents || info.tokens > kMostElements ||
      (info.token_bytes != 2 && info.token_bytes != 4)) {
    return impossible;
  }
  ShardLayout layout;
  for (const ShardArray array : kAllShardArrays) {
    Place& place = layout.arrays_[static_cast<size_t>(array)];
    place.begin = info.addresses.arrays[static_cast<size_t>(array)];
    place.element_bytes = ShardElementBytes(array, info.token_bytes);
    place.bytes = NumElements(array, info) * place.element_bytes;
    place.first_chunk = layout.num_chunks_;
    layout.num_chunks_ += place.NumChunks();
    if (!Fits(place.begin, place.bytes, place.element_bytes, info)) return impossible;
  }
  layout.order_.assign(kAllShardArrays.begin(), kAllShardArrays.end());
  std::ranges::sort(layout.order_, {}, [&](ShardArray array) { return layout.array(array).begin; });
  int64_t at = 0;
  for (const ShardArray array : layout.order_) {
    const Place& place = layout.array(array);
    if (place.begin < at) return impossible;
    if (place.begin > at) layout.outside_.push_back({at, place.begin});
    at = place.begin + place.bytes;
  }
  if (at < info.file_bytes) layout.outside_.push_back({at, info.file_bytes});
  layout.checksums_begin_ = info.addresses.checksums;
  const int64_t table = layout.num_chunks_ * 8;
  if (!Fits(layout.checksums_begin_, table, 8, info)) return impossible;
  for (const Range& range : layout.outside_) {
    if (range.begin <= layout.checksums_begin_ && layout.checksums_begin_ + table <= range.end) {
      return layout;
    }
  }
  return impossible;
}

}  // namespace choir
