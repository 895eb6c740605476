#include "plan/collective_time.h"

#include <gtest/gtest.h>

#include "tests/plan/time_fixture.h"

namespace choir {
namespace {

ExchangeItem Item(ExchangeKind kind, int ranks, int ranks_per_node, double bytes = 240) {
  return {
      .kind = kind, .axis = "x", .ranks = ranks, .ranks_per_node = ranks_per_node, .bytes = bytes};
}

Links RoundLinks(CollectiveAlgorithm algorithm) {
  Links links = RoundHardware().links;
  links.algorithm = algorithm;
  links.intra_node.step_seconds = 1;
  links.inter_node.step_seconds = 3;
  return links;
}

TEST(CollectiveTimeTest, OneRankExchangesNothing) {
  const Links links = RoundLinks(CollectiveAlgorithm::kBest);
  EXPECT_EQ(ExchangeSeconds(Item(ExchangeKind::kAllReduce, 1, 1), links), 0);
  EXPECT_TRUE(CheckLinks(Item(ExchangeKind::kAllReduce, 1, 1), Links{}).ok());
}

TEST(CollectiveTimeTest, RingInsideANode) {
  const Links links = RoundLinks(CollectiveAlgorithm::kRing);
  // 3 steps, 240 * 3/4 bytes at 10.
  EXPECT_DOUBLE_EQ(ExchangeSeconds(Item(ExchangeKind::kAllGather, 4, 4), links), 3 + 18);
  EXPECT_DOUBLE_EQ(ExchangeSeconds(Item(ExchangeKind::kReduceScatter, 4, 4), links), 3 + 18);
  EXPECT_DOUBLE_EQ(ExchangeSeconds(Item(ExchangeKind::kAllReduce, 4, 4), links), 2 * (3 + 18));
}

TEST(CollectiveTimeTest, RingThroughNodesUsesAllTheirCards) {
  const Links links = RoundLinks(CollectiveAlgorithm::kRing);
  // 2 nodes of 4: 5 steps inside and 2 between; min(10, 4 * 2) bytes a second.
  EXPECT_DOUBLE_EQ(ExchangeSeconds(Item(ExchangeKind::kAllGather, 8, 4), links),
                   5 + 2 * 3 + 240 * 7.0 / 8 / 8);
  // 3 nodes, one rank on each: 2 bytes a second; the ring's last step is not taken.
  EXPECT_DOUBLE_EQ(ExchangeSeconds(Item(ExchangeKind::kAllGather, 3, 1), links),
                   2 * 3 + 240 * 2.0 / 3 / 2);
}

TEST(CollectiveTimeTest, HierarchicalAndTree) {
  const Links hierarchical = RoundLinks(CollectiveAlgorithm::kHierarchical);
  const double inside = 3 + 18, between = 3 + 60 * 0.5 / 2;
  EXPECT_DOUBLE_EQ(ExchangeSeconds(Item(ExchangeKind::kAllGather, 8, 4), hierarchical),
                   inside + between);
  EXPECT_DOUBLE_EQ(ExchangeSeconds(Item(ExchangeKind::kAllReduce, 8, 4), hierarchical),
                   2 * (inside + between));
  const Links tree = RoundLinks(CollectiveAlgorithm::kTree);
  EXPECT_DOUBLE_EQ(ExchangeSeconds(Item(ExchangeKind::kAllReduce, 32, 4), tree),
                   2 * (3 + 3 * 3 + 240 * 31.0 / 32 / 8));
}

TEST(CollectiveTimeTest, BestIsTheFastest) {
  const Links best = RoundLinks(CollectiveAlgorithm::kBest);
  for (const ExchangeKind kind : {ExchangeKind::kAllReduce, ExchangeKind::kAllGather}) {
    for (const double bytes : {1.0, 1e6}) {
      double least = 1e300;
      for (const auto algorithm : {CollectiveAlgorithm::kRing, CollectiveAlgorithm::kTree,
                                   CollectiveAlgorithm::kHierarchical}) {
        least = std::min(least, ExchangeSeconds(Item(kind, 16, 4, bytes), RoundLinks(algorithm)));
      }
      EXPECT_DOUBLE_EQ(ExchangeSeconds(Item(kind, 16, 4, bytes), best), least);
    }
  }
}

TEST(CollectiveTimeTest, AllToAllUsesBothLevelsAtOnce) {
  Links links = RoundLinks(CollectiveAlgorithm::kBest);
  links.inter_node.message_seconds = 0.5;
  // Of 240 bytes 3/8 inside at 10 and 4/8 between at 2, to 4 peers there.
  EXPECT_DOUBLE_EQ(ExchangeSeconds(Item(ExchangeKind::kAllToAll, 8, 4), links), 3 + 4 * 0.5 + 60);
  EXPECT_DOUBLE_EQ(ExchangeSeconds(Item(ExchangeKind::kAllToAll, 4, 4), links), 1 + 18);
}

TEST(CollectiveTimeTest, SendsCallsEfficiencyAndSwitchSums) {
  Links links = RoundLinks(CollectiveAlgorithm::kRing);
  EXPECT_DOUBLE_EQ(ExchangeSeconds(Item(ExchangeKind::kSend, 2, 1), links), 3 + 120);
  EXPECT_DOUBLE_EQ(ExchangeSeconds(Item(ExchangeKind::kSend, 2, 2), links), 1 + 24);
  links.intra_node.efficiency = 0.5;
  links.intra_node.call_seconds = 7;
  EXPECT_DOUBLE_EQ(ExchangeSeconds(Item(ExchangeKind::kSend, 2, 2), links), 7 + 1 + 48);
  links.intra_node.reduce_factor = 2;
  EXPECT_DOUBLE_EQ(ExchangeSeconds(Item(ExchangeKind::kAllReduce, 4, 4), links), 7 + 2 * (3 + 18));
  EXPECT_DOUBLE_EQ(ExchangeSeconds(Item(ExchangeKind::kAllGather, 4, 4), links), 7 + 3 + 36);
}

TEST(CollectiveTimeTest, MissingLinksAreNamed) {
  Links links = RoundLinks(CollectiveAlgorithm::kBest);
  links.inter_node.bytes_per_second = 0;
  EXPECT_TRUE(CheckLinks(Item(ExchangeKind::kAllReduce, 4, 4), links).ok());
  const absl::Status status = CheckLinks(Item(ExchangeKind::kAllReduce, 8, 4), links);
  EXPECT_NE(status.message().find("links.inter_node.bytes_per_second"), std::string::npos);
}

}  // namespace
}  // namespace choir
