// Predicted and measured memory of a run (P4): the fullest step so far, run again on the meta
// device with what its experts were given.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "parallel/expert/routing.h"
#include "train/json_line.h"
#include "train/step_trace.h"

namespace choir {

struct PeakComparison {
  int64_t step = 0;  // counts from 1
  MemoryPeaks predicted, measured;
  bool exact() const { return predicted == measured; }
};

class PeakCheck {
 public:
  // Listens to the trainer's exchanges; outlives its steps.
  void Follow(Trainer& trainer) { trainer.microbatches().routing = &routing_; }
  // Around each step; measures this thread's CPU ledger.
  void BeforeStep();
  void AfterStep(int64_t step);
  // NotFound if no step was followed.
  absl::StatusOr<PeakComparison> Compare(const Trainer& trainer) const;

 private:
  RecordedRouting routing_;
  // Of the fullest step.
  RecordedRouting fullest_routing_;
  MemoryPeaks fullest_;
  int64_t fullest_step_ = 0;
};

// One line if they are equal, else a table of the categories that differ.
std::string Describe(const PeakComparison& comparison);
// {"step": `now`, "memory_plan": {"step": ..., "predicted": {...}, "measured": {...}}}
JsonLine PeakMetrics(const PeakComparison& comparison, int64_t now);

}  // namespace choir
