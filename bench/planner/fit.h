// The constants of a machine that data sheets do not give, and their fit to published steps.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/planner/published_run.h"
#include "plan/hardware.h"
#include "plan/workload.h"

namespace choir::planner {

// A constant with what is believed of it before any run is seen: `usual`, and that its logarithm
// is within `spread` of that two times in three.
struct Constant {
  const char* name;
  double usual, spread, low, high;
};
std::span<const Constant> Constants();

// One value for each of Constants().
using Values = std::vector<double>;
Values UsualValues();
// The data sheet's numbers with these constants.
Hardware WithConstants(Hardware datasheet, const Values& values);

struct Sample {
  const PublishedRun* run = nullptr;
  const Hardware* datasheet = nullptr;
  StepWorkload step;
  StepWorkload few, more;  // the same with fewer microbatches: see PredictSeconds
};
Sample MakeSample(const PublishedRun& run, const Hardware& datasheet);

// With all microbatches on paper.
double PredictSecondsInFull(const Sample& sample, const Values& values);
// Once a pipeline is full, each further microbatch of every rank costs the same: of many, all but
// 2 P and 3 P are left out. Differs from the full schedule by less than 0.1 % (the report shows
// it).

double PredictSeconds(const Sample& sample, const Values& values);

// What is believed before the runs are seen: values, and how far from them, in spreads.
struct Belief {
  Values centre = UsualValues();
  double width = 1;
};
// The values that make the runs and the belief together most likely: residuals of the logarithm are
// 4 % wide with long tails, and rows that differ only in their release count as one.
// Levenberg-Marquardt; the same inputs give the same values.
Values Fit(const std::vector<const Sample*>& samples, const Belief& belief = {});

}  // namespace choir::planner
