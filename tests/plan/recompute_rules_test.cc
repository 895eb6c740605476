#include "plan/recompute_rules.h"

#include <gtest/gtest.h>

#include "tests/plan/recompute_graphs.h"

namespace choir {
namespace {

using enum RecomputeAction;
using Rules = std::vector<std::string>;

TEST(PolicyRulesTest, JoinsLayersAndPutsWhatIsOutsideFirst) {
  RecomputeModel model;
  ClassActions actions;
  auto add = [&](const char* tag, int layer, RecomputeAction action) {
    model.classes.push_back({.names = {{tag, layer}}});
    actions.push_back(action);
  };
  for (int layer : {0, 1, 2, 4}) add("a", layer, kRecompute);
  add("a", 3, kKeep);
  add("b", 5, kOffload);
  add("c", -1, kRecompute);
  add("c", 0, kKeep);
  add("c", 1, kRecompute);
  add("d", -1, kKeep);
  add("d", 2, kKeep);
  EXPECT_EQ(PolicyRules(model, actions),
            (Rules{"a@0-2,4=recompute", "b@5=offload", "c=recompute", "c@0=keep"}));
}

TEST(PolicyRulesTest, LayersWithoutTheTagAreNoGap) {
  RecomputeModel model;
  ClassActions actions;
  for (int layer : {0, 2, 5}) {
    model.classes.push_back({.names = {{"a", layer}}});
    actions.push_back(kRecompute);
  }
  EXPECT_EQ(PolicyRules(model, actions), Rules{"a@0-5=recompute"});
}

}  // namespace
}  // namespace choir
