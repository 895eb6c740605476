#include "train/peak_check.h"

#include <algorithm>

#include "base/strings.h"

namespace choir {
namespace {

JsonLine PeaksJson(const MemoryPeaks& peaks) {
  JsonLine line;
  for (size_t i = 0; i < peaks.by_category.size(); ++i) {
    line.Add(Name(static_cast<MemoryCategory>(i)), peaks.by_category[i]);
  }
  return line.Add("total", peaks.total);
}

std::string Row(std::string_view name, int64_t predicted, int64_t measured) {
  return StrCat("\n  ", name, ": predicted ", predicted, ", measured ", measured);
}

}  // namespace

void PeakCheck::BeforeStep() {
  routing_.Clear();
  CurrentLedger(Device::kCpu).ResetPeak();
}

void PeakCheck::AfterStep(int64_t step) {
  const MemoryPeaks peaks = PeaksOf(CurrentLedger(Device::kCpu));
  if (fullest_step_ > 0 && peaks.total <= fullest_.total) return;
  fullest_ = peaks;
  fullest_step_ = step;
  std::swap(fullest_routing_, routing_);
}

absl::StatusOr<PeakComparison> PeakCheck::Compare(const Trainer& trainer) const {
  if (fullest_step_ == 0) return absl::NotFoundError("no step of this process was measured");
  RecordedRouting routing = fullest_routing_;
  TraceRequest request;
  if (const World* world = trainer.place().world(); world != nullptr) {
    request.place = {world->rank(), world->size(), world->node_size()};
  }
  request.data.languages = static_cast<int64_t>(trainer.loader().languages().size());
  request.data.step = fullest_step_ - 1;
  request.routing = &routing;
  auto trace = TraceStep(trainer.config(), request);
  if (!trace.ok()) return trace.status();
  return PeakComparison{fullest_step_, trace->peaks, fullest_};
}

std::string Describe(const PeakComparison& c) {
  if (c.exact()) {
    return StrCat("memory: predicted = measured in every category, ", c.measured.total,
                  " bytes at the fullest step, ", c.step);
  }
  std::string text = StrCat("memory of step ", c.step, ", the fullest: the plan is wrong");
  for (size_t i = 0; i < c.measured.by_category.size(); ++i) {
    const int64_t predicted = c.predicted.by_category[i], measured = c.measured.by_category[i];
    if (predicted == measured) continue;
    text += Row(Name(static_cast<MemoryCategory>(i)), predicted, measured);
  }
  return text + Row("total", c.predicted.total, c.measured.total);
}

JsonLine PeakMetrics(const PeakComparison& c, int64_t now) {
  JsonLine both, line;
  both.Add("step", c.step)
      .Add("predicted", PeaksJson(c.predicted))
      .Add("measured", PeaksJson(c.measured));
  return line.Add("step", now).Add("memory_plan", both);
}

}  // namespace choir
