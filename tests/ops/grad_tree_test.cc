#include "ops/grad_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <optional>
#include <vector>

#include "base/random.h"
#include "ops/numerics.h"

namespace choir {
namespace {

constexpr int64_t kChunks = kVirtualPieces;

// Numbers whose sum depends on its order.
float Value(int64_t outer, int64_t microbatch, int64_t chunk) {
  CounterRandom random(1, "leaf");
  const auto at = static_cast<uint64_t>((outer * 100 + microbatch) * kChunks + chunk);
  return static_cast<float>(random.Normal(at) * std::exp2(static_cast<double>(at * 5 % 13)));
}

Tensor Scalar(float value) { return Tensor::From<float>({1}, std::vector<float>{value}); }

struct Leaf {
  int64_t outer, microbatch, chunk;
};

std::vector<Leaf> AllLeaves(const LeafTree& shape) {
  std::vector<Leaf> leaves;
  for (int64_t o = 0; o < shape.outer(); ++o) {
    for (int64_t m = 0; m < shape.microbatches(); ++m) {
      for (int64_t c = 0; c < shape.chunks(); ++c) leaves.push_back({o, m, c});
    }
  }
  return leaves;
}

void Add(GradTree& tree, const Leaf& leaf) {
  tree.Add(tree.shape().Position(leaf.microbatch, leaf.chunk, leaf.outer),
           Scalar(Value(leaf.outer, leaf.microbatch, leaf.chunk)));
}

float Root(GradTree& tree) {
  std::vector<GradTree::Node> nodes = tree.Take();
  CHECK(nodes.size() == 1) << nodes.size();
  CHECK(nodes[0].level == 0 && nodes[0].index == 0);
  return *nodes[0].sum.data<float>();
}

// The twin: halves of [lo, hi) by recursion; the range of microbatches is halved as PieceBegin cuts
// it, `parts` being a power of two. Nothing for an empty range.
using MaybeSum = std::optional<float>;

MaybeSum Halves(int64_t lo, int64_t hi, const std::function<MaybeSum(int64_t)>& leaf) {
  if (hi - lo == 1) return leaf(lo);
  const int64_t middle = (lo + hi) / 2;
  const MaybeSum left = Halves(lo, middle, leaf), right = Halves(middle, hi, leaf);
  if (!left) return right;
  if (!right) return left;
  return *left + *right;
}

float Twin(int64_t microbatches, int64_t chunks, int64_t outer) {
  int64_t slots = 1;
  while (slots < microbatches) slots *= 2;
  return *Halves(0, outer, [&](int64_t o) {
    return Halves(0, slots, [&](int64_t slot) -> MaybeSum {
      const int64_t m = PieceBegin(microbatches, slots, slot);
      if (m == PieceBegin(microbatches, slots, slot + 1)) return {};
      return Halves(0, chunks, [&](int64_t c) -> MaybeSum { return Value(o, m, c); });
    });
  });
}

void Shuffle(std::vector<Leaf>& leaves, uint64_t seed) {
  CounterRandom random(seed, "order");
  for (size_t i = leaves.size(); i > 1; --i) {
    std::swap(leaves[i - 1], leaves[static_cast<size_t>(random.Uniform(i) * double(i))]);
  }
}

TEST(LeafTree, PositionsAreDistinctAndInOrder) {
  for (int64_t microbatches = 1; microbatches <= 33; ++microbatches) {
    const LeafTree shape(microbatches, kChunks, 4);
    int64_t last = -1;
    for (const Leaf& leaf : AllLeaves(shape)) {
      const int64_t at = shape.Position(leaf.microbatch, leaf.chunk, leaf.outer);
      EXPECT_GT(at, last);
      EXPECT_EQ(at, leaf.outer * shape.TokenLeaves() + shape.Position(leaf.microbatch, leaf.chunk));
      EXPECT_FALSE(shape.Empty(shape.levels(), at));
      last = at;
    }
    EXPECT_LT(last, int64_t{1} << shape.levels());
    EXPECT_EQ(int64_t{1} << shape.levels(), shape.TokenLeaves() * 4);
    // As many leaves that are not empty as there are.
    int64_t present = 0;
    for (int64_t i = 0; i < int64_t{1} << shape.levels(); ++i) {
      present += !shape.Empty(shape.levels(), i);
    }
    EXPECT_EQ(present, microbatches * kChunks * 4);
  }
}

TEST(LeafTree, ANodeIsEmptyIfItsLeavesAre) {
  for (int64_t microbatches = 1; microbatches <= 9; ++microbatches) {
    const LeafTree shape(microbatches, 4, 2);
    for (int level = 0; level < shape.levels(); ++level) {
      for (int64_t i = 0; i < int64_t{1} << level; ++i) {
        EXPECT_EQ(shape.Empty(level, i),
                  shape.Empty(level + 1, 2 * i) && shape.Empty(level + 1, 2 * i + 1))
            << microbatches << " " << level << " " << i;
      }
    }
  }
}

TEST(GradTree, AnyOrderOfAddingGivesTheTwinsBits) {
  for (int64_t microbatches = 1; microbatches <= 9; ++microbatches) {
    for (int64_t chunks : {1, 2, 8}) {
      for (int64_t outer : {1, 2, 8}) {
        const auto shape = std::make_shared<LeafTree>(microbatches, chunks, outer);
        const float wanted = Twin(microbatches, chunks, outer);
        std::vector<Leaf> leaves = AllLeaves(*shape);
        for (uint64_t order = 0; order < 6; ++order) {
          GradTree tree(shape);
          if (order == 1) std::reverse(leaves.begin(), leaves.end());
          if (order > 1) Shuffle(leaves, order);
          for (const Leaf& leaf : leaves) Add(tree, leaf);
          EXPECT_EQ(Root(tree), wanted) << microbatches << " " << chunks << " " << outer;
        }
      }
    }
  }
}

// Bits would agree by chance if the order did not matter.
TEST(GradTree, TheOrderOfASumMatters) {
  int differ = 0;
  for (int64_t microbatches = 2; microbatches <= 9; ++microbatches) {
    float in_turn = 0;
    for (const Leaf& leaf : AllLeaves(LeafTree(microbatches, kChunks))) {
      in_turn += Value(leaf.outer, leaf.microbatch, leaf.chunk);
    }
    differ += in_turn != Twin(microbatches, kChunks, 1);
  }
  EXPECT_GT(differ, 4);
}

// Ranks that each hold a part of the microbatches, of the chunks and of the outer trees.
struct Grid {
  int64_t microbatch_ranks, chunk_ranks, outer_ranks;
};

float SumOverRanks(const std::shared_ptr<const LeafTree>& shape, const Grid& grid, uint64_t seed) {
  std::vector<GradTree> ranks(
      static_cast<size_t>(grid.microbatch_ranks * grid.chunk_ranks * grid.outer_ranks),
      GradTree(shape));
  auto owner = [](int64_t n, int64_t parts, int64_t i) {
    int64_t r = 0;
    while (PieceBegin(n, parts, r + 1) <= i) ++r;
    return r;
  };
  std::vector<Leaf> leaves = AllLeaves(*shape);
  Shuffle(leaves, seed);
  for (const Leaf& leaf : leaves) {
    const int64_t m = owner(shape->microbatches(), grid.microbatch_ranks, leaf.microbatch);
    const int64_t c = owner(shape->chunks(), grid.chunk_ranks, leaf.chunk);
    const int64_t o = owner(shape->outer(), grid.outer_ranks, leaf.outer);
    Add(ranks[static_cast<size_t>((m * grid.chunk_ranks + c) * grid.outer_ranks + o)], leaf);
  }
  GradTree all(shape);
  for (size_t r = ranks.size(); r-- > 0;) {
    for (GradTree::Node& node : ranks[r].Take()) all.AddNode(std::move(node));
  }
  return Root(all);
}

TEST(GradTree, AnySplitOverRanksGivesTheTwinsBits) {
  for (int64_t microbatches = 1; microbatches <= 9; ++microbatches) {
    for (int64_t outer : {1, 8}) {
      const auto shape = std::make_shared<LeafTree>(microbatches, kChunks, outer);
      const float wanted = Twin(microbatches, kChunks, outer);
      for (int64_t of_microbatches : {1, 2, 4, 8}) {
        for (int64_t of_chunks : {1, 2, 4, 8}) {
          for (int64_t of_outer = 1; of_outer <= outer; of_outer *= 2) {
            const Grid grid{of_microbatches, of_chunks, of_outer};
            EXPECT_EQ(SumOverRanks(shape, grid, 7), wanted)
                << microbatches << " over " << of_microbatches << " x " << of_chunks << " x "
                << of_outer;
          }
        }
      }
    }
  }
}

// A rank with 1 / R of the microbatches has one node: that of its range.
TEST(GradTree, ARankWithWholeMicrobatchesHasOneNode) {
  const auto shape = std::make_shared<LeafTree>(6, kChunks);
  for (int64_t rank = 0; rank < 2; ++rank) {
    GradTree tree(shape);
    for (int64_t m = PieceBegin(6, 2, rank); m < PieceBegin(6, 2, rank + 1); ++m) {
      for (int64_t c = 0; c < kChunks; ++c) Add(tree, {0, m, c});
    }
    const std::vector<GradTree::Node> nodes = tree.Take();
    ASSERT_EQ(nodes.size(), 1u);
    EXPECT_EQ(nodes[0].level, 1);
    EXPECT_EQ(nodes[0].index, rank);
  }
}

TEST(GradTree, TakeAscendsByPositionAndForgets) {
  const auto shape = std::make_shared<LeafTree>(4, 2);
  GradTree tree(shape);
  for (const Leaf& leaf : {Leaf{0, 3, 0}, {0, 1, 0}, {0, 1, 1}, {0, 0, 1}}) Add(tree, leaf);
  const std::vector<GradTree::Node> nodes = tree.Take();
  ASSERT_EQ(nodes.size(), 3u);
  EXPECT_EQ(nodes[0].level, 3);
  EXPECT_EQ(nodes[0].index, 1);
  EXPECT_EQ(nodes[1].level, 2);
  EXPECT_EQ(nodes[1].index, 1);
  EXPECT_EQ(nodes[2].level, 3);
  EXPECT_EQ(nodes[2].index, 6);
  EXPECT_TRUE(tree.Take().empty());
}

TEST(GradTreeDeathTest, NamesTheBrokenRule) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto shape = std::make_shared<LeafTree>(3, 2);
  GradTree tree(shape);
  Add(tree, {0, 0, 0});
  EXPECT_DEATH(Add(tree, {0, 0, 0}), "added twice");
  EXPECT_DEATH(tree.Add(8, Scalar(1)), "8 at level 3");
  EXPECT_DEATH(tree.Add(0, Scalar(1)), "is empty");
  EXPECT_DEATH(LeafTree(3, 6), "6");
  EXPECT_DEATH(shape->Position(3, 0), "3 of 3");
}

}  // namespace
}  // namespace choir
