// What a run will need and take, before it runs: steps of chosen ranks on the meta device.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/counts.h"
#include "plan/hardware.h"
#include "plan/step_time.h"
#include "train/config.h"
#include "train/layout.h"
#include "train/step_trace.h"

namespace choir {

// How many rows experts get.
enum class PlannedRouting : uint8_t {
  kBalanced,  // each as many
  kSkewed,    // those of the planned rank more often than the mean
  kWorst      // every token of every rank first chooses this rank's experts
};

struct PlanRequest {
  int world = 0;                     // ranks of the job; 0: those of the config's degrees
  int node_size = 0;                 // ranks of a node; 0: the hardware's, else unknown
  std::optional<Hardware> hardware;  // none: no time, and nothing is said to fit or not
  PlannedRouting routing = PlannedRouting::kBalanced;
  double skew = 1;  // of kSkewed: the load of the planned rank's experts over the mean
  // Of a pipeline only its first two ranks and its last one: those between are taken to be like the
  // second. For candidates.
  bool sample = false;
  std::vector<int> ranks;  // that are run; empty: for each pipe coordinate the worst of
                           // its first and its last rank
};

struct RankPlan {
  int rank = 0;
  StepTrace trace;
};

struct RunPlan {
  RunConfig config;  // resolved, with a layout
  RunLayout layout;
  int world = 1;
  int64_t languages = 1;
  bool corpus_known = false;  // its languages and vocabulary are those of the data
  ParameterCounts parameters;
  FlopCounts flops;
  std::vector<RankPlan> ranks;  // ascending
  // With hardware.
  std::optional<StepTime> time;
  std::optional<RunCost> cost;
  double tokens = 0;  // of a step
  const RankPlan& Fullest() const;
};

// Fills in what only the data know, where they are there: vocabulary and languages. InvalidArgument
// where model.vocab_size is needed and not given.
absl::Status ResolveFromData(RunPlan& plan);

// A config whose files may be missing: its vocabulary is the tokenizer's where the data are there,
// else model.vocab_size must say it. Errors: those of layouts and of Trainer::MakeOnMeta.
absl::StatusOr<RunPlan> PlanRun(const RunConfig& config, const PlanRequest& request);

// Of the device's memory what a plan may use: the driver, libraries and fragmentation take some
// that no ledger knows.
inline constexpr double kUsableMemory = 0.94;
inline double UsableBytes(const Hardware& hardware) {
  return kUsableMemory * hardware.memory.bytes;
}
inline bool Fits(const RunPlan& plan, const Hardware& hardware) {
  return static_cast<double>(plan.Fullest().trace.peaks.total) <= UsableBytes(hardware);
}

}  // namespace choir
