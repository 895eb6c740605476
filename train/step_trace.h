// One training step of one rank on the meta device: the real step, without memory, numbers or other
// ranks. What it allocates and sends is what the job's rank allocates and sends, to the byte.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "parallel/comm/p2p_world.h"
#include "parallel/expert/routing.h"
#include "plan/workload.h"
#include "tensor/memory.h"
#include "train/state_bytes.h"
#include "train/trainer.h"

namespace choir {

// Highest bytes of each category and of their sum. Those of categories are not at one moment.
struct MemoryPeaks {
  std::array<int64_t, kNumMemoryCategories> by_category{};
  int64_t total = 0;
  bool operator==(const MemoryPeaks&) const = default;
};
MemoryPeaks PeaksOf(const MemoryLedger& ledger);

struct TraceRequest {
  WorldPlace place;
  PlannedData data;
  ExchangeRouting* routing = nullptr;  // null: balanced
  bool workload = false;               // record kernels, exchanges and the moment of the peak too
};

struct StepTrace {
  MemoryPeaks peaks;              // of the step; what the rank keeps is in them
  std::vector<CommCount> counts;  // of the step
  int64_t parameters = 0;         // of this rank's part of the model
  StateBytes state;
  double labels = 0, flops = 0;  // of the step, over all ranks: nothing is recomputed in them
  // With `workload`. Stages of other ranks are empty.
  std::vector<StageWorkload> stages;
  PassWork update;
  std::string peak_moment;
};

// `config` is resolved and its layout chosen. Errors: those of Trainer::MakeOnMeta.
absl::StatusOr<StepTrace> TraceStep(const RunConfig& config, const TraceRequest& request);

}  // namespace choir
