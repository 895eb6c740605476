// Which part of a tensor a rank holds: computed from mesh and layout, never stored.
#pragma once

#include <array>
#include <cstdint>

#include "parallel/mesh/mesh.h"
#include "tensor/shape.h"

namespace choir {

// Of each dim, the axes that split it (of one grid), as one cut into Size(axes) pieces: piece i of
// n is [i n / p, (i + 1) n / p) (PieceBegin in ops/numerics.h), so nothing is ever padded: sizes
// differ by one at most, and may be 0. An axis that splits no dim holds copies.
struct Layout {
  std::array<AxisSet, kMaxDims> split{};

  static Layout Replicated() { return {}; }
  static Layout Split(int dim, AxisSet axes) {
    Layout layout;
    layout.split[static_cast<size_t>(dim)] = axes;
    return layout;
  }
  AxisSet axes() const;  // that split some dim
  bool operator==(const Layout&) const = default;
};

// A box of a global tensor: exactly an HDF5 hyperslab.
struct Slice {
  Shape start, count;
  bool operator==(const Slice&) const = default;
};

// The part of a tensor of `shape` that `rank` holds. CHECKs that no axis splits two dims and that
// all axes are of one grid (the parts would not tile the tensor otherwise).
Slice LocalSlice(const Shape& shape, const Layout& layout, const Mesh& mesh, int rank);

// Global row-major index of element `local` (row-major) of a slice; 0 <= local < its elements.
int64_t GlobalIndex(const Shape& shape, const Slice& slice, int64_t local);

}  // namespace choir
