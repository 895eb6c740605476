#include "plan/workload.h"

#include <gtest/gtest.h>

namespace choir {
namespace {

TEST(PassWorkTest, SumsCountTheirItems) {
  PassWork pass;
  pass.work.push_back({{.flops = 3, .bytes = 5}, 2});
  pass.work.push_back({{.flops = 1, .bytes = 7}});
  EXPECT_EQ(Flops(pass), 7);
  EXPECT_EQ(MemoryBytes(pass), 17);
}

}  // namespace
}  // namespace choir
