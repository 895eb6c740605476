#include "parallel/pipeline/schedule.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <set>

#include "parallel/pipeline/schedule_check.h"
#include "tests/parallel/pipeline/all_specs.h"

namespace choir {
namespace {

using pipeline_test::AllSpecs;
using pipeline_test::Describe;
using testing::HasSubstr;

// Position of each action in the list of its rank, by (kind, stage, microbatch).
using Positions = std::map<std::tuple<ActionKind, int, int>, int>;

Positions PositionsOf(const std::vector<Action>& actions) {
  Positions positions;
  for (size_t i = 0; i < actions.size(); ++i) {
    const Action& a = actions[i];
    const bool fresh =
        positions.emplace(std::tuple{a.kind, a.stage, a.microbatch}, static_cast<int>(i)).second;
    EXPECT_TRUE(fresh) << ToString(a) << " twice";
  }
  return positions;
}

int Find(const Positions& positions, ActionKind kind, int stage, int microbatch) {
  const auto at = positions.find({kind, stage, microbatch});
  return at == positions.end() ? -1 : at->second;
}

TEST(ScheduleTest, EveryStageRunsEachMicrobatchOnceForwardThenBackward) {
  for (const ScheduleSpec& spec : AllSpecs(8)) {
    SCOPED_TRACE(Describe(spec));
    std::set<int> owned;
    for (int rank = 0; rank < spec.ranks; ++rank) {
      const std::vector<Action> actions = RankActions(spec, rank);
      const Positions positions = PositionsOf(actions);
      size_t expected = 0;
      for (int stage : StagesOf(spec, rank)) {
        EXPECT_TRUE(owned.insert(stage).second);
        EXPECT_EQ(StageOwner(spec, stage), rank);
        int last_forward = -1, last_backward = -1, last_weight = -1;
        for (int m = 0; m < spec.microbatches; ++m) {
          const int forward = Find(positions, ActionKind::kForward, stage, m);
          const int whole = Find(positions, ActionKind::kBackward, stage, m);
          const int input = Find(positions, ActionKind::kBackwardInput, stage, m);
          const int weight = Find(positions, ActionKind::kBackwardWeight, stage, m);
          const int backward = std::max(whole, input);
          EXPECT_NE(whole < 0, input < 0) << "stage " << stage << " microbatch " << m;
          EXPECT_EQ(input < 0, weight < 0) << "stage " << stage << " microbatch " << m;
          EXPECT_GT(forward, last_forward);
          EXPECT_GT(backward, last_backward);
          EXPECT_GT(backward, forward);
          if (weight >= 0) {
            EXPECT_GT(weight, input);
            EXPECT_GT(weight, last_weight);
            last_weight = weight;
          }
          last_forward = forward;
          last_backward = backward;
          expected += weight < 0 ? 2 : 3;
        }
      }
      EXPECT_EQ(actions.size(), expected);
    }
    EXPECT_EQ(owned.size(), static_cast<size_t>(spec.stages()));
  }
}

TEST(ScheduleTest, RankHoldsAsManyActivationsAsStated) {
  for (const ScheduleSpec& spec : AllSpecs(8)) {
    for (int rank = 0; rank < spec.ranks; ++rank) {
      int64_t held = 0, most = 0;
      for (const Action& a : RankActions(spec, rank)) {
        if (a.kind == ActionKind::kForward) most = std::max(most, ++held);
        if (a.kind == ActionKind::kBackward || a.kind == ActionKind::kBackwardWeight) --held;
      }
      EXPECT_EQ(held, 0);
      EXPECT_EQ(most, MaxInFlight(spec, rank)) << Describe(spec) << " rank " << rank;
    }
  }
}

// Runs the schedule on paper; expects that no rank waits for ever and that each waits `bubble`.
void ExpectBubble(const ScheduleSpec& spec, const StageCosts& costs) {
  const auto bubble = ScheduleBubble(spec, costs);
  ASSERT_TRUE(bubble.has_value()) << Describe(spec);
  const ScheduleRun run = RunSchedule(spec, AllActions(spec), costs);
  ASSERT_FALSE(run.deadlock()) << Describe(spec) << "\n" << run.DescribeBlocked();
  for (size_t r = 0; r < run.ranks.size(); ++r) {
    EXPECT_EQ(run.ranks[r].idle, *bubble) << Describe(spec) << " rank " << r;
  }
}

TEST(ScheduleTest, BubbleIsTheFormula) {
  for (const ScheduleSpec& spec : AllSpecs(8)) ExpectBubble(spec, {});
}

TEST(ScheduleTest, BubbleIsTheFormulaForOtherCosts) {
  const std::vector<StageCosts> any = {{3, 2, 7}, {1, 5, 4}, {9, 1, 1}};
  const std::vector<StageCosts> light_weights = {{3, 2, 1}, {2, 5, 2}, {1, 4, 0}};  // W <= F, B
  const std::vector<StageCosts> light_inputs = {{3, 1, 2}, {4, 4, 6}, {5, 3, 3}};   // for dualpipev
  for (const ScheduleSpec& spec : AllSpecs(6)) {
    const auto& costs = spec.kind == PipelineKind::kZeroBubble  ? light_weights
                        : spec.kind == PipelineKind::kDualPipeV ? light_inputs
                                                                : any;
    for (const StageCosts& c : costs) ExpectBubble(spec, c);
  }
}

TEST(ScheduleTest, NoFormulaIsClaimedOutsideItsRange) {
  const ScheduleSpec zero{PipelineKind::kZeroBubble, 4, 1, 8};
  const ScheduleSpec dual{PipelineKind::kDualPipeV, 4, 2, 8};
  EXPECT_FALSE(ScheduleBubble(zero, {.forward = 1, .backward_input = 1, .backward_weight = 2}));
  EXPECT_FALSE(ScheduleBubble(dual, {.forward = 1, .backward_input = 2, .backward_weight = 2}));
  EXPECT_FALSE(ScheduleBubble(zero, {.send = 1}));
  EXPECT_FALSE(ScheduleBubble(dual, {.pair = 2.5}));
}

TEST(ScheduleTest, PairedDualPipeVHasThePublishedBubble) {
  for (const ScheduleSpec& spec : AllSpecs(8)) {
    if (spec.kind == PipelineKind::kDualPipeV) ExpectBubble(spec, {.pair = 3});
  }
  EXPECT_EQ(ScheduleBubble({PipelineKind::kDualPipeV, 8, 2, 20}, {.pair = 3}), 14);
}

TEST(ScheduleTest, WithoutCostlyWeightsSplittingNeverWaitsLonger) {
  for (const ScheduleSpec& spec : AllSpecs(8)) {
    if (spec.kind != PipelineKind::kZeroBubble) continue;
    ScheduleSpec whole = spec;
    whole.kind = PipelineKind::k1f1b;
    for (const StageCosts& costs : {StageCosts{}, StageCosts{2, 3, 4, 1}, StageCosts{1, 2, 2, 3}}) {
      const ScheduleRun split = RunSchedule(spec, AllActions(spec), costs);
      ASSERT_FALSE(split.deadlock());
      EXPECT_LE(split.makespan, RunSchedule(whole, AllActions(whole), costs).makespan)
          << Describe(spec);
    }
  }
}

TEST(ScheduleTest, NobodyWaitsForEverWhenSendingTakesTime) {
  for (const ScheduleSpec& spec : AllSpecs(8)) {
    const ActionLists lists = AllActions(spec);
    const ScheduleRun now = RunSchedule(spec, lists, {});
    const ScheduleRun late = RunSchedule(spec, lists, {.send = 2});
    ASSERT_FALSE(late.deadlock()) << Describe(spec) << "\n" << late.DescribeBlocked();
    // Down and up once at least.
    EXPECT_GE(late.makespan, now.makespan + (spec.ranks > 1 ? 2 * 2 : 0)) << Describe(spec);
  }
}

// The actions of a rank as a line: "F0 F1 B0 B1".
std::string Line(const ScheduleSpec& spec, int rank) {
  std::string line;
  for (const Action& a : RankActions(spec, rank)) {
    line += StrCat(line.empty() ? "" : " ", std::string(1, "FBIW"[static_cast<int>(a.kind)]),
                   a.stage, ".", a.microbatch);
  }
  return line;
}

TEST(ScheduleTest, SmallSchedulesAreThoseOfThePapers) {
  EXPECT_EQ(Line({PipelineKind::kGpipe, 1, 1, 3}, 0), "F0.0 B0.0 F0.1 B0.1 F0.2 B0.2");
  EXPECT_EQ(Line({PipelineKind::kGpipe, 2, 1, 2}, 1), "F1.0 F1.1 B1.0 B1.1");
  EXPECT_EQ(Line({PipelineKind::k1f1b, 2, 1, 3}, 0), "F0.0 F0.1 B0.0 F0.2 B0.1 B0.2");
  EXPECT_EQ(Line({PipelineKind::k1f1b, 2, 1, 3}, 1), "F1.0 B1.0 F1.1 B1.1 F1.2 B1.2");
  EXPECT_EQ(Line({PipelineKind::kInterleaved, 2, 2, 2}, 0),
            "F0.0 F0.1 F2.0 F2.1 B2.0 B2.1 B0.0 B0.1");
  EXPECT_EQ(Line({PipelineKind::kInterleaved, 2, 2, 2}, 1),
            "F1.0 F1.1 F3.0 B3.0 F3.1 B3.1 B1.0 B1.1");
  EXPECT_EQ(Line({PipelineKind::kZeroBubble, 2, 1, 3}, 0),
            "F0.0 F0.1 I0.0 W0.0 F0.2 I0.1 W0.1 I0.2 W0.2");
  EXPECT_EQ(Line({PipelineKind::kZeroBubble, 2, 1, 3}, 1),
            "F1.0 I1.0 F1.1 I1.1 W1.0 F1.2 I1.2 W1.1 W1.2");
  EXPECT_EQ(Line({PipelineKind::kDualPipeV, 1, 2, 2}, 0),
            "F0.0 F1.0 F0.1 B1.0 F1.1 B0.0 B1.1 I0.1 W0.1");
  EXPECT_EQ(Line({PipelineKind::kDualPipeV, 2, 2, 4}, 0),
            "F0.0 F0.1 F0.2 F3.0 I3.0 W3.0 F3.1 F0.3 B3.1 F3.2 B0.0 B3.2 F3.3 B0.1 "
            "B3.3 I0.2 W0.2 I0.3 W0.3");
}

TEST(ScheduleTest, PairedActionsNeedNothingFromEachOther) {
  int pairs = 0;
  for (const ScheduleSpec& spec : AllSpecs(6)) {
    for (int rank = 0; rank < spec.ranks; ++rank) {
      const auto actions = RankActions(spec, rank);
      for (size_t i = 0; i < actions.size(); ++i) {
        if (!actions[i].paired) continue;
        ++pairs;
        ASSERT_LT(i + 1, actions.size());
        const Action &a = actions[i], &b = actions[i + 1];
        EXPECT_EQ(a.kind, ActionKind::kForward);
        EXPECT_EQ(b.kind, ActionKind::kBackward);
        EXPECT_FALSE(b.paired);
        EXPECT_NE(a.stage, b.stage);
        EXPECT_NE(a.microbatch, b.microbatch);
      }
    }
  }
  EXPECT_GT(pairs, 0);
}

TEST(ScheduleTest, WhatOneStageSendsTheOtherReceives) {
  for (const ScheduleSpec& spec : AllSpecs(4)) {
    std::vector<Handover> sent, received;
    for (int rank = 0; rank < spec.ranks; ++rank) {
      for (const Action& a : RankActions(spec, rank)) {
        if (const auto h = OutputOf(spec, a)) {
          EXPECT_EQ(h->from, rank);
          sent.push_back(*h);
        }
        if (const auto h = InputOf(spec, a)) {
          EXPECT_EQ(h->to, rank);
          EXPECT_EQ(h->stage, a.stage);
          received.push_back(*h);
        }
      }
    }
    EXPECT_EQ(sent.size(), static_cast<size_t>(2 * (spec.stages() - 1)) *
                               static_cast<size_t>(spec.microbatches));
    EXPECT_THAT(sent, testing::UnorderedElementsAreArray(received)) << Describe(spec);
  }
}

TEST(ScheduleTest, RefusedWithTheNumbers) {
  auto message = [](const ScheduleSpec& spec) {
    return std::string(CheckSchedule(spec).message());
  };
  EXPECT_THAT(message({PipelineKind::kDualPipeV, 4, 2, 7}),
              HasSubstr("7 microbatches are too few for 4 ranks: at least 8 are needed"));
  EXPECT_THAT(message({PipelineKind::kDualPipeV, 4, 1, 8}), HasSubstr("2 stages, not 1"));
  EXPECT_THAT(message({PipelineKind::kZeroBubble, 4, 2, 8}), HasSubstr("1 stage, not 2"));
  EXPECT_THAT(message({PipelineKind::k1f1b, 0, 1, 8}), HasSubstr("0 ranks"));
  EXPECT_THAT(message({PipelineKind::kInterleaved, 4, 2, 0}), HasSubstr("0 microbatches"));
  EXPECT_THAT(message({PipelineKind::kInterleaved, 1 << 20, 1 << 20, 1}), HasSubstr("at most"));
  EXPECT_TRUE(CheckSchedule({PipelineKind::kDualPipeV, 4, 2, 8}).ok());
}

TEST(ScheduleTest, NamesReadBack) {
  for (const ScheduleSpec& spec : AllSpecs(2)) {
    const auto kind = ParsePipelineKind(Name(spec.kind));
    ASSERT_TRUE(kind.ok());
    EXPECT_EQ(*kind, spec.kind);
  }
  const auto unknown = ParsePipelineKind("1f2b");
  EXPECT_THAT(std::string(unknown.status().message()),
              HasSubstr("gpipe, 1f1b, interleaved, zero_bubble, dualpipev"));
}

}  // namespace
}  // namespace choir
