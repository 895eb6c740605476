// Peak memory of a published run from its shape and layout: closed formulas, as the rows' sources
// use them. Choir's own plans trace the real step instead; this judges the formulas' reach.
#pragma once

#include "bench/planner/published_run.h"

namespace choir::planner {

struct PublishedMemory {
  double weights = 0;      // with gradients and optimizer state
  double activations = 0;  // kept for the backward pass by the fullest rank
  double logits = 0;
  double gathers = 0;  // ZeRO-3: units in use and ahead
  double Total() const { return weights + activations + logits + gathers; }
};
PublishedMemory MemoryOf(const PublishedRun& run);

// Bytes of one layer's activations for one microbatch on one rank: Korthikanti et al. 2022, table
// 2, for unfused attention with dropout; for a modern block its counterpart by the same rules.
double ActivationBytes(const PublishedRun& run);

}  // namespace choir::planner
