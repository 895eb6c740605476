#include "parallel/tokens.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "ops/grad_tree.h"
#include "parallel/comm/local_world.h"

namespace choir {
namespace {

constexpr ContextMethod kRing = ContextMethod::kRing, kUlysses = ContextMethod::kUlysses;

std::vector<int64_t> Rows(const RowRuns& runs) {
  std::vector<int64_t> rows;
  for (const RowRun& run : runs) {
    EXPECT_EQ(run.here, static_cast<int64_t>(rows.size()));
    for (int64_t i = 0; i < run.count; ++i) rows.push_back(run.begin + i);
  }
  return rows;
}

TEST(DealTokensTest, RingPairsAnEarlyAndALatePieceOfEverySequence) {
  const TokenGrid grid{2, 8};
  EXPECT_EQ(Rows(DealTokens(kRing, grid, 2, 0)), (std::vector<int64_t>{0, 1, 6, 7, 8, 9, 14, 15}));
  EXPECT_EQ(Rows(DealTokens(kRing, grid, 2, 1)),
            (std::vector<int64_t>{2, 3, 4, 5, 10, 11, 12, 13}));
  EXPECT_EQ(Rows(DealTokens(kUlysses, grid, 2, 1)),
            (std::vector<int64_t>{8, 9, 10, 11, 12, 13, 14, 15}));
  EXPECT_EQ(DealTokens(kRing, grid, 1, 0).size(), 1U);  // one rank has one run
}

TEST(DealTokensTest, EveryTokenIsOnOneRank) {
  for (ContextMethod method : {kRing, kUlysses}) {
    for (const TokenGrid& grid : {TokenGrid{1, 37}, TokenGrid{3, 10}, TokenGrid{4, 3}}) {
      for (int64_t ranks : {1, 2, 3, 4, 8}) {
        std::vector<int64_t> all;
        for (int64_t c = 0; c < ranks; ++c) {
          const std::vector<int64_t> rows = Rows(DealTokens(method, grid, ranks, c));
          all.insert(all.end(), rows.begin(), rows.end());
        }
        std::sort(all.begin(), all.end());
        ASSERT_EQ(static_cast<int64_t>(all.size()), grid.total());
        for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i], static_cast<int64_t>(i));
      }
    }
  }
}

// Tensor ranks cut what their context rank has, in its order.
TEST(PlanTokensThreadTest, TensorRanksShareTheTokensOfTheirContextRank) {
  const LeafTree tree(1, kVirtualPieces);
  for (ContextMethod method : {kRing, kUlysses}) {
    for (const TokenGrid& grid : {TokenGrid{3, 10}, TokenGrid{1, 5}}) {
      std::vector<TokenPlan> plans(6);
      std::vector<int64_t> counts(6);
      const absl::Status status = RunLocal(6, {}, [&](World& world) {
        const Mesh mesh({.context = 2, .tensor = 3});
        const Place place(mesh, &world, Numerics::kFast, method);
        const auto r = static_cast<size_t>(world.rank());
        plans[r] = PlanTokens(place, grid, tree, 0);
        counts[r] = NumLocalTokens(place, grid);
      });
      ASSERT_TRUE(status.ok()) << status;
      for (size_t c = 0; c < 2; ++c) {
        std::vector<int64_t> joined;
        for (size_t t = 0; t < 3; ++t) {
          const TokenPlan& plan = plans[3 * c + t];
          const std::vector<int64_t> local = Rows(plan.local);
          EXPECT_EQ(static_cast<int64_t>(local.size()), plan.tensor_rows[t]);
          EXPECT_EQ(counts[3 * c + t], plan.tensor_rows[t]);
          EXPECT_EQ(Rows(plan.here), Rows(DealTokens(method, grid, 2, static_cast<int64_t>(c))));
          joined.insert(joined.end(), local.begin(), local.end());
        }
        EXPECT_EQ(joined, Rows(plans[3 * c].here));
      }
    }
  }
}

// The pieces of all ranks, one after another, are the virtual pieces, cut where ranks are cut.
TEST(PiecesOfThreadTest, AreTheVirtualPiecesOnEveryRank) {
  constexpr int64_t kUnits = 37, kUnitSize = 6;
  for (const Numerics numerics : {Numerics::kInvariant, Numerics::kFast}) {
    for (const int ranks : {1, 2, 3, 5, 8, 16}) {
      const bool whole_pieces = kVirtualPieces % ranks == 0;
      if (numerics == Numerics::kInvariant && !whole_pieces) continue;
      std::vector<std::vector<int64_t>> of_rank(static_cast<size_t>(ranks));
      const absl::Status status = RunLocal(ranks, {}, [&](World& world) {
        const Place place(Mesh({.tensor = ranks}), &world, numerics);
        of_rank[static_cast<size_t>(world.rank())] =
            *PiecesOf(place, Axis::kTensor, kUnits, kUnitSize);
      });
      ASSERT_TRUE(status.ok()) << status;
      std::set<int64_t> expected, bounds;
      for (int64_t i = 0; i <= kVirtualPieces; ++i) {
        expected.insert(PieceBegin(kUnits, kVirtualPieces, i) * kUnitSize);
      }
      for (int64_t r = 0; r < ranks; ++r) {
        const std::vector<int64_t>& own = of_rank[static_cast<size_t>(r)];
        const int64_t begin = PieceBegin(kUnits, ranks, r) * kUnitSize;
        const int64_t end = PieceBegin(kUnits, ranks, r + 1) * kUnitSize;
        EXPECT_EQ(own.front(), 0);
        EXPECT_EQ(own.back(), end - begin);
        EXPECT_TRUE(std::is_sorted(own.begin(), own.end()));
        if (whole_pieces) {
          EXPECT_EQ(static_cast<int>(own.size()), kVirtualPieces / ranks + 1);
        }
        expected.insert(begin);
        for (const int64_t bound : own) bounds.insert(begin + bound);
      }
      EXPECT_EQ(bounds, expected) << ranks << " ranks";
    }
  }
}

}  // namespace
}  // namespace choir
