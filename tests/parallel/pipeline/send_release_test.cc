#include "parallel/pipeline/send_release.h"

#include <gtest/gtest.h>

#include "parallel/pipeline/schedule_check.h"
#include "tests/parallel/pipeline/all_specs.h"

namespace choir {
namespace {

TEST(SendReleaseTest, TwoRanksOfOneForwardOneBackward) {
  // Rank 0: F0 F1 B0 B1. What F0 sends comes back as the gradient that B0 needs.
  EXPECT_EQ(SendReleases({PipelineKind::k1f1b, 2, 1, 2}, 0)[0], 2u);
  EXPECT_EQ(SendReleases({PipelineKind::k1f1b, 2, 1, 2}, 0)[1], 3u);
  // Rank 1: F0 B0 F1 B1. F1's input was sent before rank 0 needed the gradient of microbatch 0.
  EXPECT_EQ(SendReleases({PipelineKind::k1f1b, 2, 1, 2}, 1)[1], 4u);
  // With a third microbatch, rank 0: F0 F1 B0 F2 B1 B2, and F2 comes behind B0.
  EXPECT_EQ(SendReleases({PipelineKind::k1f1b, 2, 1, 3}, 1)[1], 4u);
}

// However long each action takes, the message is there: by the schedule run on paper.
TEST(SendReleaseTest, NothingIsReleasedBeforeItIsTaken) {
  for (const ScheduleSpec& spec : pipeline_test::AllSpecs(4)) {
    const ActionLists lists = AllActions(spec);
    for (const StageCosts& costs : {StageCosts{}, StageCosts{3, 1, 7, 0.5}, StageCosts{1, 9, 2}}) {
      const ScheduleRun run = RunSchedule(spec, lists, costs);
      for (int rank = 0; rank < spec.ranks; ++rank) {
        const std::vector<Action>& mine = lists[static_cast<size_t>(rank)];
        const std::vector<size_t> releases = SendReleases(spec, rank);
        for (size_t i = 0; i < mine.size(); ++i) {
          const auto output = OutputOf(spec, mine[i]);
          if (!output || output->from == output->to || releases[i] == mine.size()) continue;
          EXPECT_GT(releases[i], i);
          const auto to = static_cast<size_t>(output->to);
          for (size_t j = 0; j < lists[to].size(); ++j) {
            if (InputOf(spec, lists[to][j]) != output) continue;
            EXPECT_LE(run.ranks[to].spans[j].begin,
                      run.ranks[static_cast<size_t>(rank)].spans[releases[i]].begin)
                << pipeline_test::Describe(spec) << " rank " << rank << " action " << i;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace choir
