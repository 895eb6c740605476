// What BatchLoader::SaveState writes: JSON with the identity of the sequence, the ledger, the
// counters, the digest chain and the state of each lane.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/hash.h"
#include "data/loader/loader.h"
#include "data/order/lane.h"

namespace choir {

struct LoaderState {
  LoaderCounters counters;
  Hash128 digest;
  DataLedger ledger;
  std::vector<LaneState> lanes;
};

std::string FormatLoaderState(const LoaderState& state, const LaneContext& context);
// The state as it was saved, under the last plan of its ledger, whatever the plan of `context`.
// Errors: as BatchLoader::RestoreState.
absl::StatusOr<LoaderState> ParseLoaderState(std::string_view text, const LaneContext& context);

}  // namespace choir
