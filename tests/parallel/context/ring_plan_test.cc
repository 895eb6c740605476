#include "parallel/context/ring_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "parallel/tokens.h"

namespace choir {
namespace {

using Documents = std::vector<int32_t>;

std::vector<RowRuns> Deal(const TokenGrid& grid, int ranks) {
  std::vector<RowRuns> runs;
  for (int r = 0; r < ranks; ++r) {
    runs.push_back(DealTokens(ContextMethod::kRing, grid, ranks, r));
  }
  return runs;
}

// For each query in the whole the keys it sees, in the whole, by what the ranks' plans say.
using Seen = std::vector<std::vector<int64_t>>;

int64_t InWhole(const RowRuns& runs, int64_t here) { return SliceRuns(runs, here, 1).at(0).begin; }

void AddSeen(const std::vector<RowRuns>& runs, const RingPlan& plan, int rank, Seen& seen) {
  const RowRuns& own = runs[static_cast<size_t>(rank)];
  const auto see = [&](int64_t query, int64_t key) {
    seen[static_cast<size_t>(InWhole(own, query))].push_back(key);
  };
  for (size_t i = 0; i + 1 < plan.boundaries.size(); ++i) {
    for (int64_t q = plan.boundaries[i]; q < plan.boundaries[i + 1]; ++q) {
      for (int64_t k = plan.boundaries[i]; k <= q; ++k) see(q, InWhole(own, k));
    }
  }
  for (size_t owner = 0; owner < runs.size(); ++owner) {
    const bool is_own = static_cast<int>(owner) == rank;
    for (const SeenBlock& b : plan.seen[owner]) {
      for (int64_t q = b.query; q < b.query + b.queries; ++q) {
        for (int64_t k = b.key; k < b.key + b.keys; ++k) {
          // What travels is named by its row at the owner.
          const int64_t row = is_own ? k : InWhole(plan.travelling[owner].parts, k);
          see(q, InWhole(runs[owner], row));
        }
      }
    }
  }
}

Seen Expected(const Documents& documents) {
  Seen seen(static_cast<size_t>(documents.back()));
  for (size_t d = 0; d + 1 < documents.size(); ++d) {
    for (int64_t q = documents[d]; q < documents[d + 1]; ++q) {
      for (int64_t k = documents[d]; k <= q; ++k) seen[static_cast<size_t>(q)].push_back(k);
    }
  }
  return seen;
}

void ExpectEveryPairOnce(const TokenGrid& grid, const Documents& documents, int ranks) {
  const std::vector<RowRuns> runs = Deal(grid, ranks);
  Seen seen(static_cast<size_t>(grid.total()));
  int64_t pairs = 0, expected = 0;
  for (int r = 0; r < ranks; ++r) {
    const RingPlan plan = PlanRing(runs, documents, r);
    AddSeen(runs, plan, r, seen);
    pairs += VisiblePairs(plan);
  }
  for (std::vector<int64_t>& keys : seen) std::sort(keys.begin(), keys.end());
  EXPECT_EQ(seen, Expected(documents));
  for (const auto& keys : seen) expected += static_cast<int64_t>(keys.size());
  EXPECT_EQ(pairs, expected);
}

// Pieces of 4: documents end at, before and behind their borders, inside a piece and over several.
TEST(RingPlanTest, EveryPairOnce) {
  for (int ranks : {1, 2, 3, 4}) {
    SCOPED_TRACE(ranks);
    ExpectEveryPairOnce({1, 16}, {0, 16}, ranks);
    ExpectEveryPairOnce({1, 16}, {0, 4, 8, 12, 16}, ranks);
    ExpectEveryPairOnce({1, 16}, {0, 3, 9, 9, 11, 13, 16}, ranks);
    ExpectEveryPairOnce({1, 16}, {0, 5, 6, 7, 15, 16, 16}, ranks);
    ExpectEveryPairOnce({3, 16}, {0, 16, 20, 32, 33, 48}, ranks);
    ExpectEveryPairOnce({2, 13}, {0, 2, 13, 26}, ranks);  // pieces of different sizes
    ExpectEveryPairOnce({2, 3}, {0, 3, 4, 6}, ranks);     // and of none
    ExpectEveryPairOnce({4, 1}, {0, 1, 2, 3, 4}, ranks);
  }
}

TEST(RingPlanTest, OneLongDocumentIsEvenWork) {
  for (int ranks : {2, 3, 4, 8, 16}) {
    const TokenGrid grid{2, 4096};
    const std::vector<RowRuns> runs = Deal(grid, ranks);
    int64_t most = 0, all = 0;
    for (int r = 0; r < ranks; ++r) {
      const int64_t pairs = VisiblePairs(PlanRing(runs, {0, 4096, 8192}, r));
      most = std::max(most, pairs);
      all += pairs;
    }
    EXPECT_EQ(all, 2 * (int64_t{4096} * 4097 / 2));
    // Pieces differ by one token of 4096 / 32, so pairs by one in so many.
    EXPECT_LE(static_cast<double>(most) * ranks / static_cast<double>(all), 1 + 2 * ranks / 4096.0)
        << ranks;
  }
}

// Also hop by hop: nobody waits for a rank that has more to do with the keys that are there.
TEST(RingPlanTest, EveryHopOfALongDocumentIsEvenWork) {
  const int ranks = 4;
  const std::vector<RowRuns> runs = Deal({1, 64}, ranks);
  for (int r = 0; r < ranks; ++r) {
    const RingPlan plan = PlanRing(runs, {0, 64}, r);
    for (int owner = 0; owner < ranks; ++owner) {
      if (owner == r) continue;
      int64_t pairs = 0;
      for (const SeenBlock& b : plan.seen[static_cast<size_t>(owner)]) pairs += b.queries * b.keys;
      EXPECT_EQ(pairs, 2 * 8 * 8) << r << " sees " << owner;
    }
  }
}

TEST(RingPlanTest, OnlyWhatIsSeenElsewhereTravels) {
  const std::vector<RowRuns> runs = Deal({1, 16}, 2);  // 0-3 and 12-15, 4-11
  // Nothing crosses a border.
  for (const TravellingParts& t : PlanRing(runs, {0, 4, 12, 14, 16}, 0).travelling) {
    EXPECT_EQ(t.hops, 0);
    EXPECT_EQ(t.rows(), 0);
  }
  // Tokens 2, 3 are seen by 4, 5; those by nobody else.
  const RingPlan plan = PlanRing(runs, {0, 2, 6, 12, 16}, 1);
  EXPECT_EQ(plan.travelling[0].hops, 1);
  ASSERT_EQ(plan.travelling[0].parts.size(), 1U);
  EXPECT_EQ(plan.travelling[0].parts[0].begin, 2);
  EXPECT_EQ(plan.travelling[0].rows(), 2);
  EXPECT_EQ(plan.travelling[1].hops, 0);
  // Of one document the last piece stays.
  const RingPlan whole = PlanRing(runs, {0, 16}, 0);
  EXPECT_EQ(whole.travelling[0].rows(), 4);
  EXPECT_EQ(whole.travelling[1].rows(), 8);
}

}  // namespace
}  // namespace choir
