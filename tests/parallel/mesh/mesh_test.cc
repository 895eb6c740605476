#include "parallel/mesh/mesh.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/parallel/mesh/layout_cases.h"

namespace choir {
namespace {

// The twin: a rank's position on every axis, by counting through the nested loops of both grids.
using Position = std::array<int, kNumAxes>;

std::vector<Position> CountThrough(const Degrees& d) {
  std::vector<Position> of_rank;
  for (int p = 0; p < d.pipe; ++p)
    for (int r = 0; r < d.replica; ++r)
      for (int s = 0; s < d.shard; ++s)
        for (int c = 0; c < d.context; ++c)
          for (int t = 0; t < d.tensor; ++t) of_rank.push_back({p, r, s, c, t, 0, 0, 0, 0});
  const int per_stage = static_cast<int>(of_rank.size()) / d.pipe;
  const int experts = d.expert * d.expert_tensor, sharing = d.context * d.tensor;
  const int contexts = sharing % experts == 0 ? sharing / experts : 1;
  const int copies = per_stage / (experts * contexts);
  size_t rank = 0;
  for (int p = 0; p < d.pipe; ++p)
    for (int a = 0; a < copies; ++a)
      for (int c = 0; c < contexts; ++c)
        for (int e = 0; e < d.expert; ++e)
          for (int t = 0; t < d.expert_tensor; ++t) {
            EXPECT_EQ(of_rank[rank][0], p);  // both grids agree on the pipe
            of_rank[rank][5] = a;
            of_rank[rank][6] = c;
            of_rank[rank][7] = e;
            of_rank[rank][8] = t;
            ++rank;
          }
  EXPECT_EQ(rank, of_rank.size());
  return of_rank;
}

// The other axes of the grid of `axes`, without the pipe's double.
AxisSet Others(AxisSet axes) {
  return ((axes - kDenseAxes).empty() ? kDenseAxes : kExpertAxes) - axes;
}

bool Agree(const Position& a, const Position& b, AxisSet axes) {
  for (int i = 0; i < kNumAxes; ++i) {
    const auto at = static_cast<size_t>(i);
    if (axes.Has(static_cast<Axis>(i)) && a[at] != b[at]) return false;
  }
  return true;
}

// Coord, Size and Peers of every rank for one set of axes.
void CheckAxes(const Mesh& mesh, const std::vector<Position>& of_rank, AxisSet axes) {
  const int world = mesh.size(), size = mesh.Size(axes);
  std::vector<int> seen(static_cast<size_t>(world), 0);
  for (int rank = 0; rank < world; ++rank) {
    const int coord = mesh.Coord(rank, axes);
    ASSERT_GE(coord, 0);
    ASSERT_LT(coord, size);
    if (coord != 0) continue;  // each group is walked from its first member
    const std::vector<int> peers = mesh.Peers(rank, axes);
    ASSERT_EQ(peers.size(), static_cast<size_t>(size));
    ASSERT_TRUE(std::is_sorted(peers.begin(), peers.end()));
    for (int i = 0; i < size; ++i) {
      const auto peer = static_cast<size_t>(peers[static_cast<size_t>(i)]);
      ASSERT_LT(peer, of_rank.size());
      ++seen[peer];
      ASSERT_EQ(mesh.Coord(static_cast<int>(peer), axes), i);
      ASSERT_TRUE(Agree(of_rank[peer], of_rank[static_cast<size_t>(rank)], Others(axes)));
    }
  }
  // The groups partition the ranks.
  ASSERT_EQ(std::count(seen.begin(), seen.end(), 1), world);
}

// Peers is the same list from every member: mutual, and containing self at index Coord.
void CheckMutual(const Mesh& mesh, AxisSet axes) {
  for (int rank = 0; rank < mesh.size(); ++rank) {
    const std::vector<int> peers = mesh.Peers(rank, axes);
    ASSERT_EQ(peers[static_cast<size_t>(mesh.Coord(rank, axes))], rank);
    ASSERT_EQ(peers, mesh.Peers(peers[0], axes));
  }
}

// Ranks that share sequences beyond those of one exchange with experts.
int ExpertContexts(const Degrees& d) {
  const int experts = d.expert * d.expert_tensor, sharing = d.context * d.tensor;
  return sharing % experts == 0 ? sharing / experts : 1;
}

int ProductOfDegrees(const Degrees& d, AxisSet axes) {
  const int contexts = ExpertContexts(d);
  const int copies =
      d.replica * d.shard * d.context * d.tensor / (d.expert * d.expert_tensor * contexts);
  const Position degree = {d.pipe, d.replica, d.shard,  d.context,      d.tensor,
                           copies, contexts,  d.expert, d.expert_tensor};
  int product = 1;
  for (int i = 0; i < kNumAxes; ++i) {
    if (axes.Has(static_cast<Axis>(i))) product *= degree[static_cast<size_t>(i)];
  }
  return product;
}

// The rank's index among its group from the twin's positions.
int TwinCoord(const Mesh& mesh, const Position& position, AxisSet axes) {
  int coord = 0;
  for (int i = 0; i < kNumAxes; ++i) {
    const Axis axis = static_cast<Axis>(i);
    if (axes.Has(axis)) coord = coord * mesh.Size(axis) + position[static_cast<size_t>(i)];
  }
  return coord;
}

void CheckMesh(const Degrees& degrees, bool mutual) {
  const Mesh mesh(degrees);
  const std::vector<Position> of_rank = CountThrough(degrees);
  ASSERT_EQ(static_cast<size_t>(mesh.size()), of_rank.size());
  for (AxisSet axes : AllAxisSets()) {
    SCOPED_TRACE(axes.ToString());
    ASSERT_EQ(mesh.Size(axes), ProductOfDegrees(degrees, axes));
    for (int rank = 0; rank < mesh.size(); ++rank) {
      ASSERT_EQ(mesh.Coord(rank, axes), TwinCoord(mesh, of_rank[static_cast<size_t>(rank)], axes));
    }
    CheckAxes(mesh, of_rank, axes);
    // Large groups from every member would be quadratic; they were walked from the first.
    if (mutual || mesh.Size(axes) <= 64) CheckMutual(mesh, axes);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(Mesh, SlowEveryRankOfEveryLayoutOfSmallJobs) {
  for (int world : {1, 2, 3, 4, 6, 7, 8, 12}) {
    for (const Degrees& degrees : AllDegrees(world)) {
      ASSERT_NO_FATAL_FAILURE(CheckMesh(degrees, true)) << "of " << world << " ranks";
    }
  }
}

TEST(Mesh, SlowEveryRankOfLargeJobs) {
  int largest = 0;
  for (const Degrees& degrees : LargeDegrees()) {
    largest = std::max(largest, Mesh(degrees).size());
    ASSERT_NO_FATAL_FAILURE(CheckMesh(degrees, false)) << "of " << Mesh(degrees).size();
  }
  EXPECT_EQ(largest, 4096);
}

TEST(Mesh, NeighboursDifferInTheInnermostAxis) {
  const Mesh mesh({.pipe = 2, .replica = 2, .shard = 2, .context = 2, .tensor = 2, .expert = 4});
  EXPECT_EQ(mesh.size(), 32);
  EXPECT_EQ(mesh.Peers(5, Axis::kTensor), (std::vector<int>{4, 5}));
  EXPECT_EQ(mesh.Peers(5, Axis::kContext), (std::vector<int>{5, 7}));
  EXPECT_EQ(mesh.Peers(5, Axis::kShard), (std::vector<int>{1, 5}));
  EXPECT_EQ(mesh.Peers(5, kDataAxes), (std::vector<int>{1, 5, 9, 13}));
  EXPECT_EQ(mesh.Peers(5, Axis::kPipe), (std::vector<int>{5, 21}));
  EXPECT_EQ(mesh.Peers(5, Axis::kExpert), (std::vector<int>{4, 5, 6, 7}));
  EXPECT_EQ(mesh.Peers(5, Axis::kExpertData), (std::vector<int>{1, 5, 9, 13}));
  EXPECT_EQ(mesh.Peers(5, AxisSet()), (std::vector<int>{5}));
}

TEST(Mesh, AxisSets) {
  EXPECT_EQ(AxisSet().ToString(), "none");
  EXPECT_EQ(kDataAxes.ToString(), "replica+shard");
  EXPECT_EQ((kDenseAxes & kExpertAxes), AxisSet(Axis::kPipe));
  EXPECT_EQ((kDenseAxes | kExpertAxes).ToString(),
            "pipe+replica+shard+context+tensor+expert_data+expert_context+expert+"
            "expert_tensor");
  EXPECT_EQ((kExpertAxes - Axis::kPipe).ToString(),
            "expert_data+expert_context+expert+expert_tensor");
  EXPECT_FALSE(kDataAxes.Has(Axis::kTensor));
  EXPECT_EQ(Name(Axis::kExpertTensor), "expert_tensor");
}

TEST(MeshDeathTest, RefusesWhatNoGridHas) {
  EXPECT_DEATH(Mesh({.replica = 3, .expert = 2}), "3 ranks, 2 of experts");
  EXPECT_DEATH(Mesh({.replica = -2, .shard = -2}), "degree > 0");
  const Mesh mesh({.replica = 2, .tensor = 2, .expert = 2});
  EXPECT_DEATH(mesh.Size({Axis::kTensor, Axis::kExpert}), "tensor\\+expert mixes the two grids");
  EXPECT_DEATH(mesh.Coord(4, Axis::kTensor), "rank < size");
  EXPECT_DEATH(mesh.Peers(-1, Axis::kTensor), "rank < size");
}

}  // namespace
}  // namespace choir
