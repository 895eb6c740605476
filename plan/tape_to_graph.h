// From the graph that a tape recorded to the one that the recompute solver reads.
#pragma once

#include <cstdint>
#include <functional>

#include "ops/tape_graph.h"
#include "plan/recompute_graph.h"

namespace choir {

struct TapeCosts {
  // Of one run of a kernel, as it would be made again. Null: as measured.
  std::function<double(const TapeKernel& kernel)> seconds;
  // Of sending `bytes` to host memory and back, not hidden; negative: not possible. Null: never.
  std::function<double(int64_t bytes)> offload_seconds;
  int copies = 1;           // microbatches in flight when the stage's memory peaks
  int64_t fixed_bytes = 0;  // what is on the device besides
};

RecomputeGraph ToRecomputeGraph(const TapeGraph& tape, const TapeCosts& costs);

}  // namespace choir
