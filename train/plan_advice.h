// What to change so that a run fits, and which layouts suit a number of ranks: found by planning
// candidates (PlanRequest::sample), not by rules of thumb.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "train/run_plan.h"

namespace choir {

struct Advice {
  std::vector<std::string> overrides;  // "--parallel.zero=2": what differs from the config
  RunPlan plan;
};

// Of the single changes (recomputation, ZeRO, smaller microbatches, more ranks to a copy, formats
// of the optimizer), and of these with full recomputation, those that fit; the fastest `most`.
// `request` has hardware and no ranks. Empty: none fits.
std::vector<Advice> WaysToFit(const RunConfig& config, const PlanRequest& request, size_t most);

// Layouts for request.world ranks, fastest first, those that fit before those that do not. All that
// keep the rules are ranked by a rough estimate of bytes and time; the best `planned` of them are
// planned, and the best `most` of those returned. Of config.parallel the degrees do not count.
absl::StatusOr<std::vector<Advice>> SearchLayouts(const RunConfig& config,
                                                  const PlanRequest& request, size_t planned,
                                                  size_t most);

}  // namespace choir
