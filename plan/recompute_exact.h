// The cheapest choice of a small graph, by branch and bound.
#pragma once

#include <optional>

#include "plan/recompute_search.h"

namespace choir {

struct ExactSearch {
  std::optional<FoundChoice> best;  // nullopt: none was found
  bool complete = false;            // there is no better one
};

// Starts from `found` (may be empty) and prices that gave a good bound. Decides one class after
// another and drops what the relaxation shows to be no cheaper; gives up after `solves`
// relaxations.
ExactSearch SearchExactly(const RecomputeModel& model, const RecomputeRelaxation& relaxation,
                          int64_t budget, std::optional<FoundChoice> found,
                          const MemoryPrices& prices, int64_t solves);

}  // namespace choir
