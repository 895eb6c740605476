#include "base/pattern.h"

#include <gtest/gtest.h>

namespace choir {
namespace {

TEST(Pattern, AStarStandsForAnyText) {
  EXPECT_TRUE(MatchesPattern("layers.3.moe.router", "*router"));
  EXPECT_TRUE(MatchesPattern("layers.3.moe.router", "layers.*.moe.*"));
  EXPECT_TRUE(MatchesPattern("head", "head"));
  EXPECT_FALSE(MatchesPattern("header", "head"));
  EXPECT_FALSE(MatchesPattern("layers.3.moe.router", "layers.*.ffn*"));
  EXPECT_TRUE(MatchesPattern("", "*"));
}

}  // namespace
}  // namespace choir
