// How a rank's shard of a parameter is walked: in short runs whose place in the whole tensor is
// known, so that what depends on that place (random bits, blocks) is the same on every layout.
#pragma once

#include <cstdint>
#include <vector>

#include "parallel/mesh/placement.h"

namespace choir {

// Elements of the longest run: its buffers stay in the L1 cache.
inline constexpr int64_t kRunLength = 1024;
// Elements of one block of 8-bit codes.
inline constexpr int64_t kMomentBlock = 128;

// Elements [begin, begin + count) of a shard that are neighbours in the whole tensor: there the
// first has row-major index `global`.
struct ElementRun {
  int64_t begin = 0, count = 0;
  uint64_t global = 0;
  int64_t block = 0;  // number of the block in this shard; of grids of blocks
};

// Blocks: at most kMomentBlock elements of one row of the whole tensor's last dim. A row is cut
// into blocks from its start, or, where ranks may split that dim, from the start of each of its
// kVirtualPieces pieces (ops/numerics.h), so that every split that divides kVirtualPieces has the
// same blocks. Other splits cut blocks, and then only the bits differ.
class RunGrid {
 public:
  // Elements [begin, begin + n) of `slice`, flattened, of a tensor of this placement. With
  // `blocks` each run is a block; CHECKs that the shard begins and ends with a row.
  RunGrid(const Placement& placement, const Slice& slice, int64_t begin, int64_t n, bool blocks);

  int64_t size() const { return n_; }
  int64_t num_blocks() const { return num_blocks_; }
  // The run that starts at element `i` of the shard and ends at `end` at the latest.
  ElementRun At(int64_t i, int64_t end) const;
  // Where to cut the shard into tasks of about `grain` elements: at multiples of this.
  int64_t Grain(int64_t grain) const;

 private:
  void MakeColumns(const Placement& placement);

  Shape shape_;
  Slice slice_;
  int64_t begin_, n_;
  bool blocks_;
  bool contiguous_ = true;  // the slice is one piece of the whole
  int64_t width_ = 1;       // of the slice's last dim
  int64_t num_blocks_ = 0;
  std::vector<int64_t> columns_;  // bounds of the blocks in one row of the slice
};

}  // namespace choir
