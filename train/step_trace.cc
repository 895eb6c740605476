#include "train/step_trace.h"

#include <memory>

#include "base/status.h"

namespace choir {
namespace {

// What was counted since `before`, which has fewer or the same lines.
std::vector<CommCount> Since(std::vector<CommCount> counts, const std::vector<CommCount>& before) {
  for (CommCount& count : counts) {
    for (const CommCount& old : before) {
      if (old.group != count.group || old.operation != count.operation) continue;
      count.calls -= old.calls;
      count.bytes_sent -= old.bytes_sent;
    }
  }
  return counts;
}

}  // namespace

MemoryPeaks PeaksOf(const MemoryLedger& ledger) {
  MemoryPeaks peaks;
  for (size_t i = 0; i < peaks.by_category.size(); ++i) {
    peaks.by_category[i] = ledger.Peak(static_cast<MemoryCategory>(i));
  }
  peaks.total = ledger.PeakTotal();
  return peaks;
}

absl::StatusOr<StepTrace> TraceStep(const RunConfig& config, const TraceRequest& request) {
  MemoryLedger ledger;
  const ScopedLedger scoped(Device::kMeta, ledger);
  std::unique_ptr<World> world;
  if (request.place.size > 1) world = DryWorld(request.place, WorldOptionsOf(config));
  ASSIGN_OR_RETURN(const auto trainer, Trainer::MakeOnMeta(config, world.get(), request.data));
  trainer->microbatches().routing = request.routing;
  std::vector<CommCount> before;
  if (world != nullptr) before = world->Counts();
  ledger.ResetPeak();
  RETURN_IF_ERROR(trainer->Step().status());
  StepTrace trace{PeaksOf(ledger)};
  if (world != nullptr) trace.counts = Since(world->Counts(), before);
  for (const auto& entry : trainer->model().parameters()) {
    trace.parameters += entry.parameter->shape().NumElements();
  }
  return trace;
}

}  // namespace choir
