#include "parallel/pipeline/schedule_check.h"

#include <gmock/gmock.h>

#include <map>

#include "tests/parallel/pipeline/all_specs.h"

namespace choir {
namespace {

using pipeline_test::AllSpecs;
using pipeline_test::Describe;
using testing::HasSubstr;

// The simpler twin: a clock that ticks; at each tick every free rank looks whether its next action
// can start. Whole costs of at least 1.
std::vector<std::vector<std::pair<int, int>>> TickedSpans(const ScheduleSpec& spec,
                                                          const ActionLists& lists,
                                                          const StageCosts& costs) {
  std::map<std::tuple<bool, int, int>, std::pair<int, int>>
      made;  // (gradient, stage, m): end, rank
  std::vector<std::vector<std::pair<int, int>>> spans(lists.size());
  size_t left = 0;
  for (const auto& list : lists) left += list.size();
  for (int now = 0; left > 0; ++now) {
    for (size_t r = 0; r < lists.size(); ++r) {
      auto& mine = spans[r];
      if (mine.size() == lists[r].size() || (!mine.empty() && mine.back().second > now)) continue;
      const Action& a = lists[r][mine.size()];
      auto there = [&](bool gradient, int stage) {
        const auto at = made.find({gradient, stage, a.microbatch});
        if (at == made.end()) return false;
        const bool travels = at->second.second != static_cast<int>(r);
        return at->second.first + (travels ? static_cast<int>(costs.send) : 0) <= now;
      };
      double cost = costs.forward;
      bool ready = true;
      if (a.kind == ActionKind::kForward) {
        ready = a.stage == 0 || there(false, a.stage - 1);
      } else if (a.kind == ActionKind::kBackwardWeight) {
        ready = there(true, a.stage);
        cost = costs.backward_weight;
      } else {
        ready = there(false, a.stage) && (a.stage + 1 == spec.stages() || there(true, a.stage + 1));
        cost = costs.backward_input;
        if (a.kind == ActionKind::kBackward) cost += costs.backward_weight;
      }
      if (!ready) continue;
      const int end = now + static_cast<int>(cost);
      mine.emplace_back(now, end);
      if (a.kind != ActionKind::kBackwardWeight) {
        made[{a.kind != ActionKind::kForward, a.stage, a.microbatch}] = {end, static_cast<int>(r)};
      }
      --left;
    }
  }
  return spans;
}

TEST(ScheduleCheckTest, TimesAreThoseOfAClockThatTicks) {
  const std::vector<StageCosts> costs = {{}, {2, 3, 1, 1}, {3, 1, 4, 2}, {1, 5, 2, 7}};
  for (const ScheduleSpec& spec : AllSpecs(4)) {
    const ActionLists lists = AllActions(spec);
    for (const StageCosts& c : costs) {
      const ScheduleRun run = RunSchedule(spec, lists, c);
      ASSERT_FALSE(run.deadlock()) << run.DescribeBlocked();
      const auto twin = TickedSpans(spec, lists, c);
      double makespan = 0;
      for (size_t r = 0; r < twin.size(); ++r) {
        double busy = 0;
        ASSERT_EQ(run.ranks[r].spans.size(), twin[r].size());
        for (size_t i = 0; i < twin[r].size(); ++i) {
          ASSERT_EQ(run.ranks[r].spans[i].begin, twin[r][i].first) << Describe(spec) << " " << i;
          ASSERT_EQ(run.ranks[r].spans[i].end, twin[r][i].second) << Describe(spec) << " " << i;
          busy += twin[r][i].second - twin[r][i].first;
        }
        makespan = std::max<double>(makespan, twin[r].back().second);
        EXPECT_EQ(run.ranks[r].busy, busy);
      }
      EXPECT_EQ(run.makespan, makespan);
      for (const auto& rank : run.ranks) EXPECT_EQ(rank.idle, makespan - rank.busy);
    }
  }
}

TEST(ScheduleCheckTest, PeakCountsFromForwardToTheLastOfBackward) {
  const ScheduleSpec spec{PipelineKind::kZeroBubble, 1, 1, 3};
  using enum ActionKind;
  const ActionLists lists = {{{kForward, 0, 0},
                              {kBackwardInput, 0, 0},
                              {kForward, 0, 1},
                              {kBackward, 0, 1},
                              {kBackwardWeight, 0, 0},
                              {kForward, 0, 2},
                              {kBackward, 0, 2}}};
  EXPECT_EQ(RunSchedule(spec, lists, {}).ranks[0].peak_in_flight, 2);
  for (const ScheduleSpec& s : AllSpecs(4)) {
    const ScheduleRun run = RunSchedule(s, AllActions(s), {});
    for (int r = 0; r < s.ranks; ++r) {
      EXPECT_EQ(run.ranks[static_cast<size_t>(r)].peak_in_flight, MaxInFlight(s, r));
    }
  }
}

TEST(ScheduleCheckTest, BlockedActionsAreNamedWithWhatTheyWaitFor) {
  const ScheduleSpec spec{PipelineKind::k1f1b, 2, 1, 2};
  ActionLists lists = AllActions(spec);
  // Rank 0 wants its first gradient before it has fed the microbatch that rank 1 wants first.
  std::swap(lists[0][1], lists[0][2]);  // F0 B0 F1 B1
  lists[1] = {{ActionKind::kForward, 1, 1},
              {ActionKind::kBackward, 1, 1},
              {ActionKind::kForward, 1, 0},
              {ActionKind::kBackward, 1, 0}};
  const ScheduleRun run = RunSchedule(spec, lists, {});
  ASSERT_EQ(run.blocked.size(), 2u);
  EXPECT_EQ(
      run.DescribeBlocked(),
      "rank 0: backward of stage 0, microbatch 0 waits for the gradient from stage 1 on rank "
      "1\n"
      "rank 1: forward of stage 1, microbatch 1 waits for the activation from stage 0 on rank "
      "0\n");
  EXPECT_EQ(run.makespan, 1);
}

TEST(ScheduleCheckTest, WorkBeforeItsOwnPassIsBlocked) {
  const ScheduleSpec spec{PipelineKind::kZeroBubble, 1, 1, 1};
  using enum ActionKind;
  const ScheduleRun weight =
      RunSchedule(spec, {{{kForward, 0, 0}, {kBackwardWeight, 0, 0}, {kBackwardInput, 0, 0}}}, {});
  EXPECT_THAT(weight.DescribeBlocked(), HasSubstr("weight gradients of stage 0"));
  const ScheduleRun backward = RunSchedule(spec, {{{kBackward, 0, 0}, {kForward, 0, 0}}}, {});
  EXPECT_THAT(backward.DescribeBlocked(), HasSubstr("its own forward pass"));
}

TEST(ScheduleCheckTest, PairedActionsRunAsOne) {
  const ScheduleSpec spec{PipelineKind::kDualPipeV, 1, 2, 3};
  // P = 1 never waits: 3 microbatches of 2 chunks, one pass of each 1 + 2 long; every pair takes 2
  // instead of 3.
  const ActionLists lists = AllActions(spec);
  const auto pairs =
      std::count_if(lists[0].begin(), lists[0].end(), [](const Action& a) { return a.paired; });
  ASSERT_EQ(pairs, 3);
  EXPECT_EQ(RunSchedule(spec, lists, {}).makespan, 18);
  EXPECT_EQ(RunSchedule(spec, lists, {.pair = 2}).makespan, 18 - pairs);
}

}  // namespace
}  // namespace choir
