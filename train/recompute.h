// `train.recompute`: which results of the forward pass are dropped and computed again.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "ops/tape.h"
#include "train/config.h"

namespace choir {

// Drops results whose tag matches a pattern, and none of the patterns that start with '!'; null
// without patterns.
RecomputePolicy MakeRecomputePolicy(const std::vector<std::string>& patterns);

// The tags that a policy is asked about when this model trains: found by running one row of it on
// the meta device, and those that only many ranks have. The config is resolved.
std::set<std::string> RecomputableTags(const RunConfig& config);

// InvalidArgument if a pattern of train.recompute matches none of them; lists them. A pattern for
// exchanges is accepted on one rank too, where there are none: a config is for any layout.
absl::Status CheckRecompute(const RunConfig& config);

}  // namespace choir
