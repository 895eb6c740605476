// What one training step reads: rows of packed documents, flattened to rows * length positions.
//
// A document of n tokens (beginning-of-text, text, end-of-text) is n - 1 positions: position i
// holds token i and its label is token i + 1. So every token but the first is a label exactly once,
// also when a long document is cut into pieces, and no label comes from another document.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "base/hash.h"
#include "tensor/tensor.h"

namespace choir {

inline constexpr int32_t kNoLabel = -1;
inline constexpr int32_t kNoLanguage = -1;

// A piece of one document in a row. Order: by row, then by begin.
struct BatchSegment {
  int64_t row = 0;
  int64_t begin = 0;         // first position in the row
  int64_t length = 0;        // positions
  int64_t offset = 0;        // of its first token in the document
  uint64_t document_id = 0;  // XXH3-64 of the document's id
  int32_t language = 0;
  int32_t source = 0;
  bool operator==(const BatchSegment&) const = default;
};

struct Batch {
  int64_t step = 0;  // batches taken from the loader before this one; -1 in a validation set
  int64_t rows = 0;
  int64_t length = 0;  // positions of a row: data.sequence_length

  // The rows whose tokens this process has, ascending: those that it trains on.
  std::vector<int64_t> stored;
  // I32 on the CPU, shape [stored.size() * length], category workspace; row stored[i] is at
  // i * length.
  Tensor tokens;     // the padding token where nothing is
  Tensor labels;     // kNoLabel in padding
  Tensor positions;  // from 0 in every segment of cu_seqlens
  Tensor language;   // index into the language table; kNoLanguage in padding

  // What follows is of all rows.

  // Bounds of the segments that attention must not look across: 0 = c[0] < c[1] < ... <
  // c[n] = rows * length. A piece of a document is a segment, and so is the padding at the end of a
  // row; no segment crosses a row. With packing.document_masks off: the rows.
  std::vector<int32_t> cu_seqlens;

  int64_t num_labels = 0;                // positions that are not padding
  std::vector<int64_t> language_tokens;  // labels by language; sums to num_labels
  std::vector<BatchSegment> segments;    // what the rows are made of

  // Chain over everything the loader gave so far, this batch included (docs/data.md).
  Hash128 digest;

  // Where rows [first, first + count), all stored, begin in the tensors. CHECKs that they are.
  int64_t StoredAt(int64_t first, int64_t count) const {
    const auto slot = std::lower_bound(stored.begin(), stored.end(), first);
    CHECK(count > 0 && stored.end() - slot >= count && slot[0] == first &&
          slot[count - 1] == first + count - 1)
        << "rows " << first << " to " << first + count - 1 << " are not stored here";
    return (slot - stored.begin()) * length;
  }
};

}  // namespace choir
