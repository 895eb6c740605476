// `train.recompute`: what becomes of the results of the forward pass until backward reads them.
#pragma once

#include <set>
#include <string>

#include "absl/status/status.h"
#include "ops/tape.h"
#include "train/config.h"
#include "train/recompute_rules.h"

namespace choir {

// What train.recompute says; null if everything is kept. The config was checked, and has no budget
// any more.
RecomputePolicy MakeRecomputePolicy(const RunConfig& config);

// The tags that a policy is asked about when this model trains: found by running one row of it on
// the meta device, and those that only many ranks have. The config is resolved.
std::set<std::string> RecomputableTags(const RunConfig& config);

// InvalidArgument with a line for each rule that fits no result: no tag of these (they are listed),
// or layers that the model does not have. A rule for exchanges is accepted on one rank too, where
// there are none: a config is for any layout.
absl::Status CheckRecompute(const RunConfig& config);

// Says which results the rules keep in fewer bits, the one thing here that changes numbers; empty
// if they do not.
std::string CompressionNote(const RunConfig& config);

}  // namespace choir
