// From section data.skip to the lists of a plan.
#pragma once

#include "data/data_config.h"
#include "data/order/data_plan.h"

namespace choir {

// `config` is checked.
void PlanSkips(const SkipConfig& config, DataPlan& plan);

}  // namespace choir
