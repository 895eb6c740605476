#include "parallel/assemble.h"

#include <cstring>

#include "ops/parallel_for.h"

namespace choir {
namespace {

// Ranks that hold a copy of another's shard have nothing to send.
bool Holds(const Spreading& spreading, const Mesh& mesh, int rank) {
  if (mesh.Coord(rank, Axis::kPipe) != spreading.pipe) return false;
  const AxisSet copies = spreading.placement.GradAxes() - spreading.shard_axes;
  return copies.empty() || mesh.Coord(rank, copies) == 0;
}

template <bool kIntoWhole>
void CopyFlat(const Tensor& whole, const Slice& slice, FlatRange range, const Tensor& part) {
  const Shape& shape = whole.shape();
  const int64_t size = SizeOf(whole.dtype());
  auto* w = static_cast<char*>(whole.raw());
  auto* p = static_cast<char*>(part.raw());
  // Runs of elements that are neighbours in both: rows of the last dim.
  const int64_t width = shape.rank() > 0 ? slice.count.dim(-1) : 1;
  for (int64_t i = range.begin; i < range.end;) {
    const int64_t run = std::min(range.end, (i / width + 1) * width) - i;
    char* at = w + GlobalIndex(shape, slice, i) * size;
    char* from = p + (i - range.begin) * size;
    std::memcpy(kIntoWhole ? at : from, kIntoWhole ? from : at, static_cast<size_t>(run * size));
    i += run;
  }
}

Slice SliceOf(const Spreading& spreading, const Mesh& mesh, int rank) {
  return LocalSlice(spreading.placement.shape, spreading.placement.layout, mesh, rank);
}

}  // namespace

void PutPart(const Tensor& whole, const Slice& slice, FlatRange range, const Tensor& part) {
  if (whole.device() != Device::kMeta) CopyFlat<true>(whole, slice, range, part);
}

void TakePart(const Tensor& whole, const Slice& slice, FlatRange range, const Tensor& part) {
  if (whole.device() != Device::kMeta) CopyFlat<false>(whole, slice, range, part);
}

FlatRange ShardRange(const Spreading& spreading, const Mesh& mesh, int rank) {
  const Shape local = SliceOf(spreading, mesh, rank).count;
  if (spreading.shard_axes.empty()) return {0, local.NumElements()};
  const int64_t pieces = mesh.Size(spreading.shard_axes);
  const int64_t i = mesh.Coord(rank, spreading.shard_axes);
  const ShardCut& cut = spreading.placement.cut;
  return {ShardBegin(local, cut, pieces, i), ShardBegin(local, cut, pieces, i + 1)};
}

Tensor Assemble(const Place& place, const Spreading& spreading, const Tensor& mine, DType dtype) {
  const Mesh& mesh = place.mesh();
  const Shape& shape = spreading.placement.shape;
  if (mesh.size() == 1) return mine.Reshape(shape);
  if (place.rank() != 0) {
    if (Holds(spreading, mesh, place.rank()) && mine.NumElements() > 0) {
      place.Group(kDenseAxes).Send(mine, 0, 0).Wait();
    }
    return Tensor();
  }
  const TensorOptions options{dtype, Device::kCpu, MemoryCategory::kWorkspace};
  Tensor whole = Tensor::Empty(shape, options);
  for (int rank = 0; rank < mesh.size(); ++rank) {
    if (!Holds(spreading, mesh, rank)) continue;
    const FlatRange range = ShardRange(spreading, mesh, rank);
    if (range.begin == range.end) continue;
    Tensor part = mine;
    if (rank != 0) {
      part = Tensor::Empty({range.end - range.begin}, options);
      place.Group(kDenseAxes).Recv(part, rank, 0).Wait();
    }
    PutPart(whole, SliceOf(spreading, mesh, rank), range, part);
  }
  return whole;
}

void CopyShard(const Place& place, const Spreading& spreading, const Tensor& whole,
               const Tensor& mine) {
  const FlatRange range = ShardRange(spreading, place.mesh(), place.rank());
  CHECK(mine.NumElements() == range.end - range.begin);
  CHECK(whole.shape() == spreading.placement.shape && whole.dtype() == mine.dtype());
  TakePart(whole, SliceOf(spreading, place.mesh(), place.rank()), range, mine);
}

}  // namespace choir
