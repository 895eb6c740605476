#include "optim/matrix_unit.h"

#include <algorithm>

#include "base/fault.h"
#include "ops/numerics.h"
#include "parallel/assemble.h"

namespace choir {

bool SplitsByFirstDim(const Matrices& matrices) {
  return !matrices.families.empty() &&
         std::all_of(
             matrices.families.begin(), matrices.families.end(),
             [](const MatrixFamily& family) { return family.roles[0] == 'b' && family.dim != 0; });
}

MatrixUnit::MatrixUnit(const OptimTarget& target, const Place& place)
    : placement_(target.placement),
      place_(&place),
      shape_(target.placement.shape),
      batched_(SplitsByFirstDim(target.matrices)) {
  for (int d = batched_ ? 1 : 0; d < shape_.rank(); ++d) {
    const AxisSet axes = placement_.layout.split[static_cast<size_t>(d)];
    if (!axes.empty() && place.Size(axes) > 1) axes_ = axes_ | axes;
  }
  const bool cut = !target.shard_axes.empty();
  const int shards = cut ? place.Size(target.shard_axes) : 1;
  const int shard = cut ? place.Coord(target.shard_axes) : 0;
  sharded_ = shards > 1;
  const std::string& name = target.parameter->name;
  if (batched_) {
    CHECK(!sharded_ || placement_.cut == ShardCut::Rows(1)) << name << " is cut into matrices";
    const int64_t all = target.slice.count.dim(0);
    const int64_t rows = PieceBegin(all, shards, shard + 1) - PieceBegin(all, shards, shard);
    shape_ = shape_.With(0, rows);
    mine_ = rows > 0;
  } else {
    CHECK(!sharded_ || placement_.cut.kind == ShardCut::Kind::kOwner)
        << name << " is cut into matrices";
    mine_ = !sharded_ || placement_.cut.owner == shard;
  }
  const int64_t here = mine_ ? PartOf(place.rank()).count.NumElements() : 0;
  CHECK(target.value.NumElements() == here) << name;
}

Slice MatrixUnit::PartOf(int rank) const {
  Slice slice = LocalSlice(placement_.shape, placement_.layout, place_->mesh(), rank);
  if (batched_) slice = {slice.start.With(0, 0), slice.count.With(0, shape_.dim(0))};
  return slice;
}

Tensor MatrixUnit::Gather(const Tensor& part) const {
  if (alone()) return part.Reshape(shape_);
  const std::vector<int> ranks = place_->mesh().Peers(place_->rank(), axes_);
  std::vector<int64_t> counts;
  for (int rank : ranks) counts.push_back(PartOf(rank).count.NumElements());
  const TensorOptions options = part.options(MemoryCategory::kCommunication);
  const Tensor parts = Tensor::Empty({shape_.NumElements()}, options);
  place_->Group(axes_).AllGather(parts, part, counts).Wait();
  const Tensor unit = Tensor::Empty(shape_, part.options(MemoryCategory::kWorkspace));
  int64_t at = 0;
  for (size_t i = 0; i < ranks.size(); ++i) {
    const Tensor mine = parts.Rows(at, counts[i]);
    if (i + 1 == ranks.size() && Injected(Fault::kMatrixLacksSlice)) mine.Zero();
    PutPart(unit, PartOf(ranks[i]), {0, counts[i]}, mine);
    at += counts[i];
  }
  return unit;
}

void MatrixUnit::Take(const Tensor& unit, const Tensor& part) const {
  if (alone()) {
    if (!unit.SharesStorageWith(part)) part.CopyFrom(unit.Reshape(part.shape()));
    return;
  }
  TakePart(unit, PartOf(place_->rank()), {0, part.NumElements()}, part);
}

}  // namespace choir
