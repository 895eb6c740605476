// Choices that drop all but checkpoints (Chen et al., "Training deep nets with sublinear memory
// cost", 2016): what crosses the narrowest places of the forward pass.
#pragma once

#include <vector>

#include "plan/recompute_cost.h"

namespace choir {

// With checkpoints at every narrow place, every second, third, ..., from each of the first ones on.
// A place between two kernels is narrow if hardly more bytes cross it than anywhere in the middle.
std::vector<ClassActions> CheckpointChoices(const RecomputeModel& model);

}  // namespace choir
