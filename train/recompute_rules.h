// The language of `train.recompute` (docs/recompute.md): a list of
//
//   none | selective | full            rules that somebody has chosen
//   budget=12GiB | budget=auto         first entry only: rules that a solver chooses
//   TAG[@LAYERS][=ACTION]              one rule; ACTION keep, recompute (if left out), offload,
//   bf16,
//                                      e4m3 or e5m2; in TAG '*' stands for any text; LAYERS like
//                                      0-11,20- counts from 0
//   !TAG[@LAYERS]                      the same as TAG[@LAYERS]=keep
//
// Of the rules that fit a result the last one holds; without one it is kept.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ops/tape.h"

namespace choir {

// Inclusive.
struct LayerRange {
  int first = 0, last = std::numeric_limits<int>::max();
};

struct RecomputeRule {
  std::string tag;
  std::vector<LayerRange> layers;  // empty: all, and what is outside of layers (-1)
  TensorPolicy action = TensorPolicy::kRecompute;
  int entry = -1;  // that it was written in; -1: part of a name's rules
};

struct RecomputeBudget {
  std::optional<int64_t> bytes;  // of a rank's device, all categories; none: what it has
};

struct RecomputeError {
  size_t entry;
  std::string message;  // follows the entry's path
};

struct RecomputeRules {
  std::optional<RecomputeBudget> budget;  // asks for rules ahead of these
  std::vector<RecomputeRule> rules;
  std::vector<RecomputeError> errors;  // all of them; rules are then incomplete
};
RecomputeRules ParseRecompute(const std::vector<std::string>& entries);

// The names that `=ACTION` may be; "keep" for kDefault.
std::string_view ActionName(TensorPolicy action);

// Which values backward reads depends on the layout: an exchange's result in place of what was
// sent, what came from another stage. Rounded to bf16, element by element, only these are the same
// on every layout; a row's factor (8 bits) never is. A list for messages.
std::string RoundedAlike();
// The first rule that keeps other results in fewer bits, "norm=bf16"; empty if there is none.
std::string RuleOfOneLayout(const std::vector<RecomputeRule>& rules);

// What the rules say; null if there are none. The budget is not looked at.
RecomputePolicy MakeRecomputePolicy(std::vector<RecomputeRule> rules);

}  // namespace choir
