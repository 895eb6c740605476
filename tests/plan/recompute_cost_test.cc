#include "plan/recompute_cost.h"

#include <gtest/gtest.h>

#include <array>

#include "base/random.h"
#include "tests/plan/recompute_graphs.h"

namespace choir {
namespace {

using enum RecomputeAction;

// a -> b -> c, of 100, 10 and 1 bytes; the backward pass reads c, b, a in this order.
RecomputeGraph Chain() {
  RecomputeGraph graph;
  graph.tensors = {{.tag = "", .bytes = 1000, .kernel = -1, .released = 0},
                   {.tag = "a", .bytes = 100, .kernel = 0, .released = 1},
                   {.tag = "b", .bytes = 10, .kernel = 1, .released = 2},
                   {.tag = "c", .bytes = 1, .kernel = 2, .released = 2}};
  graph.kernels = {{1, {0}, {1}}, {2, {1}, {2}}, {4, {2}, {3}}};
  graph.backward = {{{3}}, {{2}}, {{1}}};
  return graph;
}

// Of a, b, c.
RecomputeCost Cost(const RecomputeGraph& graph, const std::array<RecomputeAction, 3>& actions) {
  const RecomputeChoice choice{kKeep, actions[0], actions[1], actions[2]};
  const RecomputeCost cost = Evaluate(graph, choice), literal = LiteralCost(graph, choice);
  EXPECT_EQ(cost.peak_bytes, literal.peak_bytes);
  EXPECT_EQ(cost.seconds, literal.seconds);
  return cost;
}

TEST(RecomputeCostTest, KeptIsHeldWhatIsNotReadGoes) {
  const RecomputeCost cost = Cost(Chain(), {kKeep, kKeep, kKeep});
  EXPECT_EQ(cost.held_bytes, 111);  // not the input
  EXPECT_EQ(cost.seconds, 0);
  EXPECT_EQ(cost.peak_bytes, 1100);  // the first kernel, with the input
}

TEST(RecomputeCostTest, DroppedNeedsWhatItIsMadeOf) {
  EXPECT_EQ(Cost(Chain(), {kKeep, kKeep, kRecompute}).held_bytes, 110);
  EXPECT_EQ(Cost(Chain(), {kKeep, kRecompute, kRecompute}).seconds, 6);
  const RecomputeCost all = Cost(Chain(), {kRecompute, kRecompute, kRecompute});
  EXPECT_EQ(all.held_bytes, 1000);  // the input is needed now
  EXPECT_EQ(all.seconds, 7);
  EXPECT_EQ(all.replayed, 3);
}

TEST(RecomputeCostTest, WhatOnlyDroppedTensorsNeedIsHeldForThem) {
  RecomputeGraph graph = Chain();
  graph.backward = {{{3}}, {{1}}};  // nobody reads b
  EXPECT_EQ(Cost(graph, {kKeep, kKeep, kKeep}).held_bytes, 101);
  EXPECT_EQ(Cost(graph, {kKeep, kKeep, kRecompute}).held_bytes, 110);
  EXPECT_EQ(Cost(graph, {kKeep, kRecompute, kKeep}).seconds, 0);
  // b is made for c and goes at once: a + c at most afterwards.
  const RecomputeCost cost = Cost(graph, {kKeep, kRecompute, kRecompute});
  EXPECT_EQ(cost.held_bytes, 100);
  EXPECT_EQ(cost.seconds, 6);
}

TEST(RecomputeCostTest, OtherMicrobatchesHoldAsMuch) {
  RecomputeGraph graph = Chain();
  for (RecomputeTensor& t : graph.tensors) t.copies = 3;
  graph.fixed_bytes = 5000;
  const RecomputeCost cost = Cost(graph, {kRecompute, kKeep, kKeep});
  // Held of each: input (for a), b, c. Peak: the first kernel of the third one's forward pass has
  // input and a; the last backward node input and a too.
  EXPECT_EQ(cost.held_bytes, 3 * 1011);
  EXPECT_EQ(cost.peak_bytes, 5000 + 2 * 1011 + 1110);
}

TEST(RecomputeCostTest, OffloadedIsOnTheHostMeanwhile) {
  RecomputeGraph graph = Chain();
  graph.offload_ahead = 0;
  for (RecomputeTensor& t : graph.tensors) t.offload_seconds = 0.5;
  const RecomputeCost cost = Cost(graph, {kOffload, kKeep, kOffload});
  EXPECT_EQ(cost.held_bytes, 10);
  EXPECT_EQ(cost.host_bytes, 101);
  EXPECT_EQ(cost.seconds, 1);
}

TEST(RecomputeCostTest, NamesThatShareAStorageAreOneClass) {
  RecomputeGraph graph = Chain();
  graph.tensors.push_back({.tag = "d", .view_of = 2, .kernel = 2, .released = 2});
  graph.kernels[2].outputs.push_back(4);
  const RecomputeModel model = MakeRecomputeModel(graph);
  ASSERT_EQ(model.classes.size(), 3u);
  EXPECT_EQ(model.classes[1].names.size(), 2u);
  EXPECT_EQ(model.classes[1].names[1].first, "d");
}

TEST(RecomputeCostTest, IsWhatATapeByTheLetterNeeds) {
  for (uint64_t seed = 0; seed < 400; ++seed) {
    const RecomputeGraph graph = RandomGraph(seed, {.kernels = 4 + static_cast<int>(seed % 17)});
    const RecomputeModel model = MakeRecomputeModel(graph);
    const CounterRandom random(seed, "test/choice");
    for (uint64_t n = 0; n < 8; ++n) {
      ClassActions actions;
      for (size_t c = 0; c < model.classes.size(); ++c) {
        const uint64_t kinds = model.classes[c].can_offload ? 3 : 2;
        actions.push_back(static_cast<RecomputeAction>(random.Below(1000 * n + c, kinds)));
      }
      const RecomputeCost cost = Evaluate(model, actions);
      const RecomputeCost literal = LiteralCost(graph, ChoiceOf(model, actions));
      ASSERT_EQ(cost.peak_bytes, literal.peak_bytes) << seed << " " << n;
      EXPECT_EQ(cost.peak_node, literal.peak_node) << seed << " " << n;
      EXPECT_EQ(cost.held_bytes, literal.held_bytes) << seed << " " << n;
      EXPECT_EQ(cost.host_bytes, literal.host_bytes) << seed << " " << n;
      EXPECT_EQ(cost.replayed, literal.replayed) << seed << " " << n;
      EXPECT_NEAR(cost.seconds, literal.seconds, 1e-12) << seed << " " << n;
    }
  }
}

}  // namespace
}  // namespace choir
