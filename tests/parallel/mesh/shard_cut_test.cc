#include "parallel/mesh/shard_cut.h"

#include <gtest/gtest.h>

#include <numeric>

#include "ops/numerics.h"

namespace choir {
namespace {

using Counts = std::vector<int64_t>;

TEST(ShardCutTest, ElementsAreCutAnywhere) {
  EXPECT_EQ(ShardCounts({3, 5}, {}, 4), (Counts{3, 4, 4, 4}));
  EXPECT_EQ(ShardCounts({2}, {}, 3), (Counts{0, 1, 1}));
}

TEST(ShardCutTest, RowsStayWhole) {
  EXPECT_EQ(ShardCounts({3, 5, 2}, ShardCut::Rows(1), 2), (Counts{10, 20}));
  EXPECT_EQ(ShardCounts({3, 5, 2}, ShardCut::Rows(2), 2), (Counts{14, 16}));
  EXPECT_EQ(ShardCounts({2, 5}, ShardCut::Rows(1), 4), (Counts{0, 5, 0, 5}));
  EXPECT_EQ(ShardCounts({2, 5}, ShardCut::Rows(0), 3), (Counts{0, 0, 10}));
}

TEST(ShardCutTest, AnOwnerHasAll) {
  EXPECT_EQ(ShardCounts({3, 5}, ShardCut::Owner(1), 3), (Counts{0, 15, 0}));
  EXPECT_EQ(ShardCounts({3, 5}, ShardCut::Owner(0), 3), (Counts{15, 0, 0}));
  EXPECT_EQ(ShardCounts({3, 5}, ShardCut::Owner(2), 3), (Counts{0, 0, 15}));
}

// Whatever the shape, shards follow each other and are all of it.
TEST(ShardCutTest, ShardsTile) {
  for (const Shape& shape : {Shape{}, Shape{0, 4}, Shape{1}, Shape{7, 1, 3}, Shape{4, 0}}) {
    for (int shards = 1; shards <= 5; ++shards) {
      for (const ShardCut& cut : {ShardCut{}, ShardCut::Rows(shape.rank()), ShardCut::Rows(0),
                                  ShardCut::Owner(shards - 1)}) {
        EXPECT_EQ(ShardBegin(shape, cut, shards, 0), 0);
        const Counts counts = ShardCounts(shape, cut, shards);
        EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), int64_t{0}), shape.NumElements());
        for (int64_t count : counts) EXPECT_GE(count, 0);
      }
    }
  }
}

}  // namespace
}  // namespace choir
