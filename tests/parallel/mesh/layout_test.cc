#include "parallel/mesh/layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "ops/numerics.h"
#include "tests/parallel/mesh/layout_cases.h"

namespace choir {
namespace {

// Adds the elements of `slice` to `held`; false if they are not in ascending order within `shape`.
bool Hold(const Shape& shape, const Slice& slice, std::vector<int>& held) {
  int64_t before = -1;
  for (int64_t i = 0; i < slice.count.NumElements(); ++i) {
    const int64_t global = GlobalIndex(shape, slice, i);
    if (global <= before || global >= shape.NumElements()) return false;
    before = global;
    ++held[static_cast<size_t>(global)];
  }
  return true;
}

// Sizes of one dim's pieces differ by one at most.
bool IsEven(const Mesh& mesh, const Shape& shape, const Layout& layout, const Slice& slice) {
  for (int d = 0; d < shape.rank(); ++d) {
    const int64_t pieces = mesh.Size(layout.split[static_cast<size_t>(d)]);
    const int64_t n = slice.count.dim(d);
    if (n < shape.dim(d) / pieces || n > (shape.dim(d) + pieces - 1) / pieces) return false;
  }
  return true;
}

// Every element of `shape` is held once by each group of ranks over the axes that split it, and
// ranks that differ only in other axes hold the same slice.
void CheckTiling(const Mesh& mesh, const Shape& shape, const Layout& layout) {
  const AxisSet axes = layout.axes();
  std::vector<std::optional<Slice>> by_coord(static_cast<size_t>(mesh.Size(axes)));
  std::vector<int> held(static_cast<size_t>(shape.NumElements()), 0);
  for (int rank = 0; rank < mesh.size(); ++rank) {
    const Slice slice = LocalSlice(shape, layout, mesh, rank);
    std::optional<Slice>& known = by_coord[static_cast<size_t>(mesh.Coord(rank, axes))];
    if (known) {
      ASSERT_EQ(*known, slice) << "rank " << rank;
      continue;
    }
    known = slice;
    ASSERT_TRUE(Hold(shape, slice, held)) << "rank " << rank;
    ASSERT_TRUE(IsEven(mesh, shape, layout, slice)) << "rank " << rank;
  }
  for (const auto& slice : by_coord) ASSERT_TRUE(slice.has_value());
  ASSERT_EQ(std::count(held.begin(), held.end(), 1), shape.NumElements());
}

const int64_t kAwkward[] = {0, 1, 3, 60, 1030};

// One dim by each set of axes, two dims by neighbouring sets, and copies.
std::vector<Layout> LayoutsOf(int rank) {
  std::vector<Layout> layouts = {Layout::Replicated()};
  for (AxisSet axes : AllAxisSets()) {
    if (!axes.empty()) layouts.push_back(Layout::Split(rank - 1, axes));
  }
  if (rank < 2) return layouts;
  const std::pair<AxisSet, AxisSet> pairs[] = {
      {Axis::kTensor, kDataAxes},
      {Axis::kShard, Axis::kTensor},
      {{Axis::kContext, Axis::kPipe}, Axis::kReplica},
      {Axis::kExpert, Axis::kExpertTensor},
      {{Axis::kExpert, Axis::kPipe}, {Axis::kExpertData, Axis::kExpertTensor}}};
  for (const auto& [outer, inner] : pairs) {
    Layout layout = Layout::Split(0, outer);
    layout.split[1] = inner;
    layouts.push_back(layout);
  }
  return layouts;
}

void CheckLayouts(const Degrees& degrees, const Shape& shape) {
  const Mesh mesh(degrees);
  for (const Layout& layout : LayoutsOf(shape.rank())) {
    SCOPED_TRACE(shape.ToString() + " by " + layout.axes().ToString());
    ASSERT_NO_FATAL_FAILURE(CheckTiling(mesh, shape, layout));
  }
}

TEST(Layout, SlowSlicesTileTensorsOnEveryLayoutOfSmallJobs) {
  for (int world : {1, 4, 6}) {
    for (const Degrees& degrees : AllDegrees(world)) {
      for (int64_t n : kAwkward) ASSERT_NO_FATAL_FAILURE(CheckLayouts(degrees, Shape({n})));
      ASSERT_NO_FATAL_FAILURE(CheckLayouts(degrees, Shape({3, 7})));
      ASSERT_NO_FATAL_FAILURE(CheckLayouts(degrees, Shape({2, 0})));
      ASSERT_NO_FATAL_FAILURE(CheckLayouts(degrees, Shape({5, 3, 2})));
    }
  }
}

// Fewer elements than pieces among them: most ranks hold nothing.
TEST(Layout, SlowSlicesTileTensorsOfLargeJobs) {
  for (const Degrees& degrees : LargeDegrees()) {
    ASSERT_NO_FATAL_FAILURE(CheckLayouts(degrees, Shape({3, 103})));
  }
}

TEST(Layout, ScalarsAreCopies) {
  const Mesh mesh({.replica = 2, .tensor = 3});
  ASSERT_NO_FATAL_FAILURE(CheckTiling(mesh, Shape(), Layout::Replicated()));
}

TEST(Layout, SliceOfKnownSize) {
  const Mesh mesh({.shard = 2, .tensor = 4});
  Layout layout = Layout::Split(0, Axis::kTensor);
  layout.split[2] = Axis::kShard;
  // Rank 6: shard 1, tensor 2. 10 rows in 4 pieces: 0, 2, 5, 7.
  const Slice slice = LocalSlice({10, 4, 5}, layout, mesh, 6);
  EXPECT_EQ(slice, (Slice{{5, 0, 2}, {2, 4, 3}}));
  EXPECT_EQ(GlobalIndex({10, 4, 5}, slice, 0), 102);
  EXPECT_EQ(GlobalIndex({10, 4, 5}, slice, 4), 108);  // row 5, column 1, third of the last dim
  EXPECT_EQ(GlobalIndex({10, 4, 5}, slice, 23), 139);
  // An outer axis cuts into whole runs of the inner one's pieces.
  const Slice both = LocalSlice({16}, Layout::Split(0, {Axis::kShard, Axis::kTensor}), mesh, 6);
  EXPECT_EQ(both, (Slice{{12}, {2}}));
}

// Cuts into p pieces are cuts into 2 p: what lets the ranks of T hold whole virtual pieces.
TEST(Layout, CutsNest) {
  for (int64_t n : {0, 1, 3, 7, 8, 60, 1030, 129280}) {
    for (int64_t p = 1; p <= 256; p *= 2) {
      for (int64_t i = 0; i <= p; ++i) {
        ASSERT_EQ(PieceBegin(n, p, i), PieceBegin(n, 2 * p, 2 * i)) << n << " in " << p;
      }
    }
    for (int64_t i = 0; i <= 6; ++i) ASSERT_EQ(PieceBegin(n, 6, i), PieceBegin(n, 30, 5 * i));
  }
}

// The slice of a job with one more inner axis lies within the slice without it.
TEST(Layout, SplitByMoreInnerAxesRefines) {
  const Mesh mesh({.replica = 3, .shard = 2, .context = 2, .tensor = 4});
  for (int64_t n : kAwkward) {
    for (int rank = 0; rank < mesh.size(); ++rank) {
      const Slice outer = LocalSlice({n}, Layout::Split(0, kDataAxes), mesh, rank);
      const Slice inner = LocalSlice({n}, Layout::Split(0, kDataAxes | Axis::kTensor), mesh, rank);
      ASSERT_GE(inner.start.dim(0), outer.start.dim(0));
      ASSERT_LE(inner.start.dim(0) + inner.count.dim(0), outer.start.dim(0) + outer.count.dim(0));
    }
  }
}

TEST(LayoutDeathTest, RefusesLayoutsThatDoNotTile) {
  const Mesh mesh({.replica = 2, .tensor = 2, .expert = 2});
  Layout twice = Layout::Split(0, Axis::kTensor);
  twice.split[1] = {Axis::kTensor, Axis::kReplica};
  EXPECT_DEATH(LocalSlice({4, 4}, twice, mesh, 0), "tensor splits two dims");
  Layout mixed = Layout::Split(0, Axis::kTensor);
  mixed.split[1] = Axis::kExpert;
  EXPECT_DEATH(LocalSlice({4, 4}, mixed, mesh, 0), "mixes the two grids");
  EXPECT_DEATH(LocalSlice({4}, Layout::Split(1, Axis::kTensor), mesh, 0), "dim 1 of .* is split");
  EXPECT_DEATH(GlobalIndex({4}, {{2}, {2}}, 2), "2 of \\[2\\]");
  EXPECT_DEATH(GlobalIndex({4}, {{2}, {0}}, 0), "0 of \\[0\\]");
}

}  // namespace
}  // namespace choir
