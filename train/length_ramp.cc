#include "train/length_ramp.h"

#include <algorithm>
#include <numeric>

namespace choir {

int64_t LengthPieces(const RunConfig& config, int64_t step) {
  const LengthRampConfig& ramp = config.train.length_ramp;
  if (step >= ramp.steps) return 1;
  int64_t doublings = 0;
  while (ramp.start_length << doublings < config.data.sequence_length) ++doublings;
  return int64_t{1} << (doublings - doublings * step / ramp.steps);
}

namespace {

// Segments end at multiples of `length` too.
std::vector<int32_t> CutSegments(const std::vector<int32_t>& bounds, int64_t length) {
  std::vector<int32_t> cut = bounds;
  for (int64_t at = 0; at < bounds.back(); at += length) cut.push_back(static_cast<int32_t>(at));
  std::sort(cut.begin(), cut.end());
  cut.erase(std::unique(cut.begin(), cut.end()), cut.end());
  return cut;
}

std::vector<BatchSegment> CutPieces(const std::vector<BatchSegment>& segments, int64_t pieces,
                                    int64_t length) {
  std::vector<BatchSegment> cut;
  for (const BatchSegment& whole : segments) {
    for (int64_t at = whole.begin; at < whole.begin + whole.length;) {
      const int64_t row = at / length;
      const int64_t end = std::min(whole.begin + whole.length, (row + 1) * length);
      BatchSegment piece = whole;
      piece.row = whole.row * pieces + row;
      piece.begin = at - row * length;
      piece.length = end - at;
      piece.offset = whole.offset + at - whole.begin;
      cut.push_back(piece);
      at = end;
    }
  }
  return cut;
}

// Of the rows that are stored.
void SetPositions(Batch& batch) {
  int32_t* position = batch.positions.data<int32_t>();
  size_t slot = 0;
  for (size_t i = 1; i < batch.cu_seqlens.size(); ++i) {
    const int64_t begin = batch.cu_seqlens[i - 1], end = batch.cu_seqlens[i];
    const int64_t row = begin / batch.length;
    while (slot < batch.stored.size() && batch.stored[slot] < row) ++slot;
    if (slot == batch.stored.size()) return;
    if (batch.stored[slot] != row) continue;
    int32_t* const first = position + static_cast<int64_t>(slot) * batch.length;
    const int64_t from = begin - row * batch.length;
    std::iota(first + from, first + from + (end - begin), 0);
  }
}

}  // namespace

Batch CutRows(const Batch& batch, int64_t pieces) {
  CHECK(batch.length % pieces == 0) << batch.length << " positions in " << pieces << " pieces";
  Batch cut = batch;
  cut.rows = batch.rows * pieces;
  cut.length = batch.length / pieces;
  cut.stored.clear();
  for (const int64_t row : batch.stored) {
    for (int64_t i = 0; i < pieces; ++i) cut.stored.push_back(row * pieces + i);
  }
  cut.cu_seqlens = CutSegments(batch.cu_seqlens, cut.length);
  cut.segments = CutPieces(batch.segments, pieces, cut.length);
  cut.positions = Tensor::Empty(batch.positions.shape(), batch.positions.options());
  if (cut.positions.device() == Device::kMeta) return cut;
  SetPositions(cut);
  return cut;
}

}  // namespace choir
