// Predictions of every published run at four levels.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/planner/constants.h"
#include "bench/planner/fit.h"
#include "bench/planner/published_run.h"

namespace choir::planner {

// Everything that predictions need; `samples` point into `data` and `machines`.
struct Bench {
  ReferenceData data;
  std::map<std::string, Hardware> machines;
  std::vector<Sample> samples;  // of the runs that are compared
};
absl::StatusOr<std::unique_ptr<Bench>> LoadBench(const std::string& source_folder);

// Constants of each system from its calibrate rows, starting from a fit to all machines with
// software of its kind.
FrozenConstants FitAll(const Bench& bench);

// Seconds predicted for one run, by level.
struct RowResult {
  const Sample* sample = nullptr;
  double datasheet = 0;  // L0: data sheet and usual constants
  double scaled = 0;     // L1: that times one number for the system, without the row's family
  double fitted = 0;     // L2: frozen constants of the system
  double crossed = 0;    // L2: fitted without the row's family, and without its model elsewhere
  double constant = 0;   // the family's median FLOP/s: knows the answer but no layout
  double measured() const { return sample->run->seconds; }
  double error(double seconds) const { return seconds / measured() - 1; }
};
std::vector<RowResult> EvaluateAll(const Bench& bench, const FrozenConstants& frozen);

}  // namespace choir::planner
