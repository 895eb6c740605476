// What a step sends, by axis: the formulas of docs/parallelism.md, and what a job has counted.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/layers.h"
#include "parallel/comm/communicator.h"
#include "train/config.h"
#include "train/layout.h"

namespace choir {

// Bytes that all ranks together send in one step.
struct Traffic {
  int64_t data = 0;    // gradients and, with ZeRO, weights; of the axes that have copies of weights
  int64_t tensor = 0;  // with muon and factored, the momentum or gradient of split matrices too
  int64_t expert = 0;
  int64_t context = 0;
  int64_t pipeline = 0;
  bool operator==(const Traffic&) const = default;
};

// By formula, in fast mode and without recomputation. Exact, but `expert` takes it that every
// expert gets as many tokens, and `context` with ring that every token is seen by all later parts:
// an upper bound. Not counted: balance losses (which Sorted takes for `data`) and what all ranks
// agree on. `parameters` are those of the whole model on one rank, `config` is resolved, `labels`
// are those of the step (padding has no loss). Not for exchanges over nodes, nor for ZeRO 3 with a
// pipeline (CHECKed).
Traffic StepTraffic(const RunConfig& config, const RunLayout& layout,
                    std::span<const ParameterList::Entry> parameters, int64_t labels);

// What one rank has sent so far (World::Counts), sorted in the same way.
Traffic Sorted(const std::vector<CommCount>& counts);

}  // namespace choir
