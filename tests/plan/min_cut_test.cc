#include "plan/min_cut.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/random.h"

namespace choir {
namespace {

struct Term {
  int kind, x, y;
  int64_t cost;
};

int64_t Cost(const std::vector<Term>& terms, uint32_t values) {
  int64_t sum = 0;
  for (const Term& t : terms) {
    const bool x = values >> t.x & 1, y = values >> t.y & 1;
    const bool pays = t.kind == 0 ? x : t.kind == 1 ? !x : x && !y;
    if (pays) sum += t.cost;
  }
  return sum;
}

TEST(BinaryCostsTest, FindsTheLeastOfAllAssignments) {
  constexpr int kVariables = 9;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const CounterRandom random(seed, "test/min_cut");
    std::vector<Term> terms;
    BinaryCosts costs(kVariables);
    for (uint64_t i = 0; i < 30; ++i) {
      const Term t{static_cast<int>(random.Below(4 * i, 4)),
                   static_cast<int>(random.Below(4 * i + 1, kVariables)),
                   static_cast<int>(random.Below(4 * i + 2, kVariables)),
                   static_cast<int64_t>(random.Below(4 * i + 3, 50))};
      terms.push_back(t);
      if (t.kind == 0) costs.IfOne(t.x, t.cost);
      if (t.kind == 1) costs.IfZero(t.x, t.cost);
      if (t.kind > 1) costs.IfOneAndZero(t.x, t.y, t.cost);
    }
    int64_t least = Cost(terms, 0);
    for (uint32_t values = 1; values < 1u << kVariables; ++values) {
      least = std::min(least, Cost(terms, values));
    }
    std::vector<bool> values;
    EXPECT_EQ(costs.Minimise(values), least) << seed;
    uint32_t bits = 0;
    for (int i = 0; i < kVariables; ++i) bits |= uint32_t{values[static_cast<size_t>(i)]} << i;
    EXPECT_EQ(Cost(terms, bits), least) << seed;
  }
}

TEST(BinaryCostsTest, NeverIsNeverPaid) {
  BinaryCosts costs(2);
  costs.IfZero(0, BinaryCosts::kNever);
  costs.IfOneAndZero(0, 1, BinaryCosts::kNever);
  costs.IfOne(1, 7);
  std::vector<bool> values;
  EXPECT_EQ(costs.Minimise(values), 7);
  EXPECT_EQ(values, (std::vector<bool>{true, true}));
}

}  // namespace
}  // namespace choir
