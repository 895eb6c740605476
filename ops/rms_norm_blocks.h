// How rows are cut into partial sums of the gradient of a weight that all rows share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "ops/numerics.h"
#include "tensor/tensor.h"

namespace choir {

// Blocks of at most `block_rows` neighbouring rows. They start anew at the first row of each leaf,
// so that the sum over a leaf's blocks depends on the leaf's rows alone.
class RowBlocks {
 public:
  RowBlocks(int64_t rows, int64_t block_rows, const RowLeaves* leaves) {
    const std::vector<int64_t> whole = {0, rows};
    const std::vector<int64_t>& cuts = leaves == nullptr ? whole : leaves->bounds;
    CHECK(cuts.front() == 0 && cuts.back() == rows) << "leaves of other rows";
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
      for (int64_t row = cuts[i]; row < cuts[i + 1]; row = bounds_.back()) {
        bounds_.push_back(std::min(cuts[i + 1], row + block_rows));
      }
    }
  }

  int64_t count() const { return static_cast<int64_t>(bounds_.size()) - 1; }
  // Block i is rows [Begin(i), Begin(i + 1)).
  int64_t Begin(int64_t i) const { return bounds_[static_cast<size_t>(i)]; }
  // Of partial sums with one row for each block, those of rows [begin, end): all rows or a leaf.
  // `first` is the row of block 0.
  Tensor SumsOf(const Tensor& sums, int64_t begin, int64_t end, int64_t first = 0) const {
    return sums.Rows(first + At(begin), At(end) - At(begin));
  }

 private:
  // The block that begins at `row`.
  int64_t At(int64_t row) const {
    return std::lower_bound(bounds_.begin(), bounds_.end(), row) - bounds_.begin();
  }

  std::vector<int64_t> bounds_ = {0};
};

}  // namespace choir
