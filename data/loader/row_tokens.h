// Packed rows as numbers: what one position of a batch holds.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/hash.h"
#include "data/loader/batch.h"
#include "data/order/augment.h"
#include "data/order/packer.h"
#include "data/shard/corpus.h"

namespace choir {

struct RowOptions {
  int64_t length = 0;
  bool document_masks = true;
  int32_t pad_id = 0;
  const Augmenter* augmenter = nullptr;  // null: documents are packed as they are
};

// Leaves the entries that resize() adds unset: they are written once.
template <class T>
struct UnsetAllocator : std::allocator<T> {
  template <class U>
  struct rebind {
    using other = UnsetAllocator<U>;
  };
  template <class U>
  void construct(U* entry) {
    ::new (static_cast<void*>(entry)) U;
  }
};
using RowEntries = std::vector<int32_t, UnsetAllocator<int32_t>>;

// One row; each of the four holds `length` entries as Batch describes them, or none.
struct RowTokens {
  RowEntries tokens, labels, positions, language;
  std::vector<int32_t> segment_ends;   // ascending; the last is `length`
  std::vector<BatchSegment> segments;  // row not yet set
};

// A row of pieces of `streams`, given the document of each.
RowTokens MakeRowTokens(const std::vector<DocumentStream>& streams, const PackedRow& row,
                        const std::vector<TokenDocument>& documents, const RowOptions& options);
// The same without its tokens: what other processes train on.
RowTokens MakeRowSegments(const std::vector<DocumentStream>& streams, const PackedRow& row,
                          const std::vector<DocumentHead>& heads, const RowOptions& options);

// Rows as a batch, without step and digest. It stores the rows that were fetched.
Batch MakeBatch(const std::vector<RowTokens>& rows, const RowOptions& options, size_t languages);

// The digest chain: XXH3-128 over `before` (high, low) and, for each segment in order, step, slot
// (row of the batch), document id, offset and length, all as 64-bit little-endian numbers.
Hash128 ExtendDigest(Hash128 before, int64_t step, const std::vector<BatchSegment>& segments);

}  // namespace choir
