// What the sources of published runs are known to do, where a row does not say it itself: one rule
// for each source, never for a row.
#pragma once

#include <set>
#include <string>

#include "bench/planner/published_run.h"
#include "nlohmann/json.hpp"

namespace choir::planner {

// Names of layer parts that the row's `recompute` text runs again.
std::set<std::string> RecomputedParts(const std::string& text);

// Megatron-Bridge publishes throughput without the recompute, overlap and graphs of its recipes;
// they are taken from its public files (scripts/performance/configs), by model, machine and
// release.
void ApplyBridgeRecipe(PublishedRun& run);

// Fills run.system, run.machine, run.method and what of run.model follows from the software.
// `row` is the line of the file; id, source, gpu, model and layout of `run` are read already.
void ApplyRules(const nlohmann::json& row, PublishedRun& run);

// Why the row's step time cannot be compared; empty: it can. Called last.
std::string ReasonToExclude(const nlohmann::json& row, const PublishedRun& run);

}  // namespace choir::planner
