#include "optim/run_grid.h"

#include <algorithm>

#include "ops/numerics.h"

namespace choir {

RunGrid::RunGrid(const Placement& placement, const Slice& slice, int64_t begin, int64_t n,
                 bool blocks)
    : shape_(placement.shape), slice_(slice), begin_(begin), n_(n), blocks_(blocks) {
  CHECK(begin >= 0 && begin + n <= slice.count.NumElements());
  const int rank = shape_.rank();
  if (rank > 0) width_ = slice.count.dim(-1);
  for (int i = 1; i < rank; ++i) contiguous_ = contiguous_ && slice.count.dim(i) == shape_.dim(i);
  if (!blocks || n == 0) return;
  CHECK(rank > 0 && begin % width_ == 0 && n % width_ == 0)
      << "a shard with 8-bit moments is cut inside of a row of " << width_ << ": [" << begin << ", "
      << begin + n << ")";
  MakeColumns(placement);
  num_blocks_ = n / width_ * static_cast<int64_t>(columns_.size() - 1);
}

void RunGrid::MakeColumns(const Placement& placement) {
  const int64_t whole = shape_.dim(-1), first = slice_.start.dim(-1), last = first + width_;
  const bool split = !placement.layout.split[static_cast<size_t>(shape_.rank() - 1)].empty();
  const int64_t pieces = split ? kVirtualPieces : 1;
  columns_.push_back(0);
  for (int64_t p = 0; p < pieces; ++p) {
    const int64_t begin = PieceBegin(whole, pieces, p), end = PieceBegin(whole, pieces, p + 1);
    for (int64_t at = begin; at < end; at += kMomentBlock) {
      const int64_t bound = std::min(at + kMomentBlock, end);
      if (bound > first && at < last) columns_.push_back(std::min(bound, last) - first);
    }
  }
}

ElementRun RunGrid::At(int64_t i, int64_t end) const {
  ElementRun run{i, end - i, 0, 0};
  const int64_t at = begin_ + i;
  if (contiguous_ && !blocks_) {
    run.count = std::min(run.count, kRunLength);
  } else {
    const int64_t row = at / width_, column = at - row * width_;
    int64_t stop = std::min(width_, column + kRunLength);
    if (blocks_) {
      const auto next = std::upper_bound(columns_.begin(), columns_.end(), column);
      stop = *next;
      run.block = (row - begin_ / width_) * static_cast<int64_t>(columns_.size() - 1) +
                  (next - columns_.begin()) - 1;
    }
    run.count = std::min(run.count, stop - column);
  }
  run.global = static_cast<uint64_t>(GlobalIndex(shape_, slice_, at));
  return run;
}

int64_t RunGrid::Grain(int64_t grain) const {
  if (!blocks_ || width_ == 0) return grain;
  return std::max<int64_t>(1, grain / width_) * width_;
}

}  // namespace choir
