#include "train/step_trace.h"

#include <functional>
#include <memory>
#include <optional>

#include "base/status.h"
#include "train/step_recorder.h"

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

int64_t HandoverBytes(const Trainer& trainer) {
  const RunConfig& config = trainer.config();
  const TokenGrid grid{trainer.layout().microbatch_rows, config.data.sequence_length};
  return NumLocalTokens(trainer.place(), grid) * config.model.hidden * SizeOf(DType::kF32);
}

// Between stages activations and their gradients are of one size.
void AddHandovers(const RunLayout& layout, int64_t bytes, std::vector<StageWorkload>& stages) {
  for (size_t i = 0; i + 1 < static_cast<size_t>(layout.schedule.stages()); ++i) {
    stages[i].handover_bytes = static_cast<double>(bytes);
  }
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
  std::unique_ptr<P2pWorld> world;
  if (request.place.size > 1) {
    world = std::make_unique<P2pWorld>(request.place, WorldOptionsOf(config), nullptr);
  }
  ASSIGN_OR_RETURN(const auto trainer, Trainer::MakeOnMeta(config, world.get(), request.data));
  Microbatches& microbatches = trainer->microbatches();
  microbatches.routing = request.routing;
  std::vector<CommCount> before;
  if (world != nullptr) before = world->Counts();
  StepRecorder recorder(trainer->layout(), ledger, request.place.rank, request.place.node_size);
  std::optional<ScopedWorkListener> listening;
  const WorkListener listener = [&](const Work& work) { recorder.AddWork(work); };
  if (request.workload) {
    listening.emplace(listener);
    microbatches.on_pass = std::bind_front(&StepRecorder::EnterPass, &recorder);
    microbatches.after_pass = [&] { recorder.LeavePass(); };
    if (world != nullptr) {
      world->set_listener(std::bind_front(&StepRecorder::AddCall, &recorder));
    }
  }
  ledger.ResetPeak();
  ASSIGN_OR_RETURN(const StepReport report, trainer->Step());
  StepTrace trace{.peaks = PeaksOf(ledger), .state = MeasureState(*trainer)};
  trace.labels = static_cast<double>(report.step_labels);
  trace.flops = report.flops;
  if (world != nullptr) trace.counts = Since(world->Counts(), before);
  for (const auto& entry : trainer->model().parameters()) {
    trace.parameters += entry.parameter->shape().NumElements();
  }
  if (request.workload) {
    const RunLayout& layout = trainer->layout();
    trace.stages = recorder.Stages(layout.schedule.microbatches);
    AddHandovers(layout, HandoverBytes(*trainer), trace.stages);
    trace.update = recorder.Update();
    trace.peak_moment = recorder.peak_moment();
  }
  return trace;
}

}  // namespace choir
