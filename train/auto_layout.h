// `parallel: auto`: degrees from the model, the job's ranks and their memory.
#pragma once

#include "absl/status/statusor.h"
#include "parallel/comm/communicator.h"
#include "parallel/mesh/layout_search.h"
#include "train/config.h"

namespace choir {

// What a rank needs for this model: parameters counted, the activations of one sequence measured
// on the meta device under the config's recompute policy. rank_bytes and node_size are left open.
// `config` is resolved.
MemoryNeeds NeedsOf(const RunConfig& config);

// Bytes of this machine's memory that are free, within the limit of the process' control group.
absl::StatusOr<double> FreeHostBytes();

// Bytes that a rank may use: parallel.rank_memory_gib, or nine tenths of the node's free memory
// divided by its ranks; the least of all ranks. All ranks call it and get the same.
absl::StatusOr<double> RankBytes(const ParallelConfig& config, World* world);

// `config` itself unless its layout is auto; else with the degrees that ChooseDegrees takes for the
// RankBytes. All ranks call it and get the same. Errors: those of ChooseDegrees.
absl::StatusOr<RunConfig> WithChosenLayout(const RunConfig& config, World* world);

}  // namespace choir
