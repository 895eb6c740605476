// The layout of a run: who computes what. Everything follows from config, model and number of
// ranks.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "parallel/comm/communicator.h"
#include "parallel/mesh/degrees.h"
#include "parallel/pipeline/schedule.h"
#include "parallel/pipeline/stage_layers.h"
#include "parallel/place.h"
#include "train/config.h"

namespace choir {

struct RunLayout {
  Degrees degrees;
  ContextMethod context_method = ContextMethod::kUlysses;
  int zero = 0;                     // stage of ZeRO in force
  ScheduleSpec schedule;            // microbatches: of one data rank, in a full step
  std::vector<StageLayers> stages;  // of the model
  ExchangeOptions exchange;         // of tokens with experts
  int64_t microbatch_rows = 1;

  int DataRanks() const { return degrees.replica * degrees.shard; }
  // Microbatches of a step of `rows` sequences, over all data ranks.
  int64_t Microbatches(int64_t rows) const {
    return (rows + microbatch_rows - 1) / microbatch_rows;
  }
};

// What a resolved config's model and batch allow, with microbatches of this many sequences.
ModelLimits LimitsOf(const RunConfig& config, int64_t microbatch_rows);

// InvalidArgument with every rule that is broken, the numbers, and layouts that would do. `config`
// is resolved: its vocabulary is known, its layout chosen (train/auto_layout.h). `node_size`: ranks
// of a node as the launcher says; 0: unknown.
absl::StatusOr<RunLayout> PlanLayout(const RunConfig& config, int world, int node_size = 0);

// What the job's communication follows.
WorldOptions WorldOptionsOf(const RunConfig& config);

// One line for people: "8 ranks: data 2, tensor 2, pipeline 2 (1f1b), zero 1".
std::string Describe(const RunLayout& layout);

}  // namespace choir
