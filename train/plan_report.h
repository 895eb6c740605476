// A RunPlan for people and for programs.
#pragma once

#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "train/run_plan.h"

namespace choir {

// `hardware` as in the request. Bytes are shown in GiB (MiB below one).
std::string PlanText(const RunPlan& plan, const std::optional<Hardware>& hardware);
// Bytes, seconds, FLOP; everything that the text has.
nlohmann::json PlanJson(const RunPlan& plan, const std::optional<Hardware>& hardware);

// "12.3 GiB", "45.6 MiB".
std::string ByteText(double bytes);

}  // namespace choir
