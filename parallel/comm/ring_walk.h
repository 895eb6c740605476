// The pieces of segments in the order in which a ring passes them on.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace choir {

struct RingPiece {
  int64_t begin = 0, bytes = 0;  // in the whole buffer
  int step = 0;                  // which segment of the walk
};

// Segments first, first - 1, ... (modulo their number), `steps` of them, each cut into pieces of
// at most `piece` bytes; empty segments have none.
class RingWalk {
 public:
  struct Range {
    const std::vector<int64_t>& offsets;  // one more than segments; outlives the walk
    int first;
    int steps;
    int64_t piece;
  };

  explicit RingWalk(const Range& range)
      : offsets_(&range.offsets), steps_(range.steps), piece_(range.piece) {
    Enter(range.first);
  }

  bool Next(RingPiece* piece) {
    while (step_ < steps_ && begin_ == end_) {
      const int segments = static_cast<int>(offsets_->size()) - 1;
      if (++step_ < steps_) Enter((segment_ + segments - 1) % segments);
    }
    if (step_ >= steps_) return false;
    *piece = {begin_, std::min(piece_, end_ - begin_), step_};
    begin_ += piece->bytes;
    return true;
  }

 private:
  void Enter(int segment) {
    segment_ = segment;
    begin_ = (*offsets_)[static_cast<size_t>(segment)];
    end_ = (*offsets_)[static_cast<size_t>(segment) + 1];
  }

  const std::vector<int64_t>* offsets_;
  int steps_;
  int64_t piece_;
  int segment_ = 0, step_ = 0;
  int64_t begin_ = 0, end_ = 0;
};

}  // namespace choir
