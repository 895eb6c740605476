#include "ops/row_runs.h"

#include <gtest/gtest.h>

namespace choir {
namespace {

using Ranges = std::vector<std::vector<int64_t>>;

Ranges ToRanges(const RowRuns& runs) {
  Ranges ranges;
  for (const RowRun& run : runs) ranges.push_back({run.begin, run.count, run.here});
  return ranges;
}

RowRuns Some() {
  RowRuns runs;
  for (const auto& [begin, count] :
       {std::pair(2, 3), std::pair(5, 1), std::pair(9, 0), std::pair(10, 4)}) {
    AppendRows(runs, begin, count);
  }
  return runs;
}

TEST(RowRunsTest, NeighboursJoinAndEmptyRunsVanish) {
  EXPECT_EQ(ToRanges(Some()), (Ranges{{2, 4, 0}, {10, 4, 4}}));
  EXPECT_EQ(NumRows(Some()), 8);
  EXPECT_EQ(NumRows({}), 0);
}

TEST(RowRunsTest, Slices) {
  EXPECT_EQ(ToRanges(SliceRuns(Some(), 0, 8)), ToRanges(Some()));
  EXPECT_EQ(ToRanges(SliceRuns(Some(), 3, 3)), (Ranges{{5, 1, 0}, {10, 2, 1}}));
  EXPECT_EQ(ToRanges(SliceRuns(Some(), 4, 1)), (Ranges{{10, 1, 0}}));
  EXPECT_TRUE(SliceRuns(Some(), 3, 0).empty());
}

TEST(RowRunsTest, OneRunIsAViewOthersAreCopied) {
  Tensor whole = Tensor::Empty({14, 2}, {});
  for (int i = 0; i < 28; ++i) whole.data<float>()[i] = static_cast<float>(i);
  const Tensor view = TakeRows(whole, {{3, 4, 0}});
  EXPECT_TRUE(view.SharesStorageWith(whole));
  EXPECT_EQ(view.data<float>()[0], 6);
  const Tensor taken = TakeRows(whole, Some());
  ASSERT_EQ(taken.shape(), (Shape{8, 2}));
  EXPECT_EQ(taken.data<float>()[6], 10);
  EXPECT_EQ(taken.data<float>()[8], 20);
  EXPECT_EQ(TakeRows(whole, {}).shape(), (Shape{0, 2}));
}

TEST(RowRunsDeathTest, RunsAscend) {
  RowRuns runs = Some();
  EXPECT_DEATH(AppendRows(runs, 13, 1), "comes before the last run");
}

}  // namespace
}  // namespace choir
