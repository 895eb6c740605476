#include "base/check.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "base/log.h"

namespace choir {
namespace {

TEST(Check, PassesWhatHolds) {
  const std::vector<int> v = {1, 2, 3};
  const int n = 3;
  const bool yes = true;
  const auto pointer = std::make_unique<int>(1);
  CHECK(v.size() == 3) << "a signed and an unsigned side";
  CHECK(n % 3 == 0);
  CHECK(n * 2 - 1 == n + 2);
  CHECK(pointer);
  CHECK(pointer != nullptr);
  CHECK(n == 3 && yes);
  CHECK(n > 4 || yes);
  CHECK(!yes == false);
  CHECK(-1 < v.size());
}

TEST(Check, MessageIsNotEvaluatedWhenItHolds) {
  int evaluated = 0;
  CHECK(true) << ++evaluated;
  EXPECT_EQ(evaluated, 0);
}

TEST(Check, BindsToItsOwnElse) {
  bool reached = false;
  if (false)
    CHECK(false) << "not reached";
  else
    reached = true;
  EXPECT_TRUE(reached);
}

TEST(CheckDeathTest, PrintsBothValuesPlaceRankAndStep) {
  SetLogContext(2, 4);
  SetLogStep(17);
  const int rows = 3;
  EXPECT_DEATH(
      CHECK(rows == 4) << "while gathering "
                       << "w1",
      "\\[rank 2 step 17\\] .*check_test.cc:[0-9]+: CHECK failed: rows == 4 \\(3 vs 4\\): while "
      "gathering w1");
  EXPECT_DEATH(CHECK(rows + 1 <= 3), "CHECK failed: rows \\+ 1 <= 3 \\(4 vs 3\\)");
  EXPECT_DEATH(CHECK(rows < 0 && rows > 5), "CHECK failed: rows < 0 && rows > 5");
  SetLogContext(0, 1);
  SetLogStep(0);
}

}  // namespace
}  // namespace choir
