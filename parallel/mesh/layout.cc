#include "parallel/mesh/layout.h"

#include "base/check.h"
#include "ops/numerics.h"

namespace choir {

AxisSet Layout::axes() const {
  AxisSet all;
  for (AxisSet axes : split) all = all | axes;
  return all;
}

Slice LocalSlice(const Shape& shape, const Layout& layout, const Mesh& mesh, int rank) {
  Slice slice{shape, shape};
  CHECK(mesh.Size(layout.axes()) > 0);  // which CHECKs that the grids are not mixed
  AxisSet used;
  for (int d = 0; d < kMaxDims; ++d) {
    const AxisSet axes = layout.split[static_cast<size_t>(d)];
    CHECK(d < shape.rank() || axes.empty()) << "dim " << d << " of " << shape << " is split";
    CHECK((used & axes).empty()) << (used & axes).ToString() << " splits two dims of " << shape;
    used = used | axes;
    if (d >= shape.rank()) continue;
    const int64_t n = shape.dim(d), pieces = mesh.Size(axes), i = mesh.Coord(rank, axes);
    const int64_t begin = PieceBegin(n, pieces, i);
    slice.start = slice.start.With(d, begin);
    slice.count = slice.count.With(d, PieceBegin(n, pieces, i + 1) - begin);
  }
  return slice;
}

int64_t GlobalIndex(const Shape& shape, const Slice& slice, int64_t local) {
  CHECK(local >= 0 && local < slice.count.NumElements()) << local << " of " << slice.count;
  int64_t index = 0, stride = 1;
  for (int d = shape.rank() - 1; d >= 0; --d) {
    const int64_t n = slice.count.dim(d);
    index += (slice.start.dim(d) + local % n) * stride;
    local /= n;
    stride *= shape.dim(d);
  }
  return index;
}

}  // namespace choir
