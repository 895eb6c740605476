// Norms of the gradient over all ranks.
#pragma once

#include <span>
#include <vector>

#include "ops/parameter.h"
#include "optim/config.h"
#include "parallel/place.h"
#include "parallel/zero/gradient_sum.h"

namespace choir {

struct GradNorms {
  double total = 0;  // of everything
  // Of each of optim.groups that has its own clip_norm; 0 for the others.
  std::vector<double> group;
  double rest = 0;  // of what is in none of those: optim.clip_norm limits it
};

// Of the shards' gradients, each counted once; `tied` (may be null) is left out, because its
// gradient is in another's. In invariant mode exact sums, rounded once. All ranks call it. Blocks.
GradNorms ComputeGradNorms(const Place& place, std::span<const Shard> shards, const Parameter* tied,
                           const OptimConfig& config);

}  // namespace choir
