#include "parallel/pipeline/schedule_chart.h"

#include <gtest/gtest.h>

#include <sstream>

namespace choir {
namespace {

std::string Chart(const ScheduleSpec& spec, int columns) {
  const ActionLists lists = AllActions(spec);
  return ScheduleChart(spec, lists, RunSchedule(spec, lists, {}), columns);
}

TEST(ScheduleChartTest, ShowsWhenEachPassRuns) {
  EXPECT_EQ(Chart({PipelineKind::k1f1b, 2, 1, 2}, 80),
            "time   0  1  2  3  4  5  6  7  8\n"
            "rank 0 F0 F1 .  .  B0--- .  B1---\n"
            "rank 1 .  F0 B0--- F1 B1--- .  .\n");
}

TEST(ScheduleChartTest, LettersMarkTheChunk) {
  EXPECT_EQ(Chart({PipelineKind::kDualPipeV, 1, 2, 2}, 80),
            "time   0   1   2   3   4   5   6   7   8   9   10  11\n"
            "rank 0 F0a F0b F1a B0b---- F1b B0a---- B1b---- I1a W1a\n");
}

TEST(ScheduleChartTest, LongRowsGoOnInAnotherBlock) {
  const ScheduleSpec spec{PipelineKind::k1f1b, 2, 1, 2};
  EXPECT_EQ(Chart(spec, 7 + 5 * 3),
            "time   0  1  2  3  4\n"
            "rank 0 F0 F1 .  .  B0-\n"
            "rank 1 .  F0 B0--- F1\n"
            "\n"
            "time   5  6  7  8\n"
            "rank 0 -- .  B1---\n"
            "rank 1 B1--- .  .\n");
  // However narrow: one cell at least.
  std::istringstream lines(Chart(spec, 0));
  int times = 0;
  for (std::string line; std::getline(lines, line);) times += line.starts_with("time");
  EXPECT_EQ(times, 9);
}

}  // namespace
}  // namespace choir
