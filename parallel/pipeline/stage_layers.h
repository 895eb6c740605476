// Which layers of a model each pipeline stage holds.
#pragma once

#include <vector>

#include "absl/status/statusor.h"

namespace choir {

struct StageLayers {
  int begin = 0, end = 0;  // layers [begin, end)
  bool embedding = false;  // on the first stage
  bool head = false;       // final norm, output projection and loss: on the last stage

  int count() const { return end - begin; }
  bool operator==(const StageLayers&) const = default;
};

struct StageSplit {
  int layers = 0;
  int stages = 1;
  // Layers of each stage; empty: balanced.
  std::vector<int> counts;
  // What embedding and head cost, in layers. Balanced stages then differ in cost by one layer at
  // most where the layers suffice for it.
  double embedding_cost = 0;
  double head_cost = 0;
};

// One entry for each stage, in order. Balanced: the largest cost of a stage is as small as it can
// be, and of equal splits later stages get more layers, as earlier ones hold more activations. An
// error where a stage would hold nothing (only the first and the last may have no layer, where
// their embedding or head has a cost or an explicit list says so), or the list does not fit.
absl::StatusOr<std::vector<StageLayers>> SplitLayers(const StageSplit& split);

}  // namespace choir
