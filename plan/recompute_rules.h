// A choice in the language of `train.recompute`.
#pragma once

#include <string>
#include <vector>

#include "plan/recompute_cost.h"

namespace choir {

// Entries TAG[@LAYERS]=ACTION ("norm@0-11,14=recompute"), of which later ones win; what none names
// is kept. A tag outside of layers comes first, without layers: where layers of the same tag do
// something else, entries that follow say so.
std::vector<std::string> PolicyRules(const RecomputeModel& model, const ClassActions& actions);

}  // namespace choir
