// Pairs of published runs that differ in one thing: does the model see its sign and its size?
#pragma once

#include <string>
#include <vector>

#include "bench/planner/evaluate.h"

namespace choir::planner {

struct ToggleResult {
  std::string what, from, to;
  double measured = 0;   // change of the step time, of 1
  double predicted = 0;  // with the frozen constants of the system
  bool sign() const { return (measured < 0) == (predicted < 0); }
  // Of the right sign and half to double the size.
  bool size() const { return sign() && predicted / measured >= 0.5 && predicted / measured <= 2; }
};
std::vector<ToggleResult> RunToggles(const Bench& bench, const FrozenConstants& frozen);

}  // namespace choir::planner
