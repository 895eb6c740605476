// `train.recompute: budget=...`: rules that the recompute solver chooses from a trace of the run.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "plan/hardware.h"
#include "plan/recompute_graph.h"
#include "train/config.h"
#include "train/layout.h"

namespace choir {

// The job that rules are chosen for.
struct BudgetRequest {
  int world = 1;
  int node_size = 1;
  int64_t bytes = 0;  // for budget=auto
  // What kernels cost; null: a machine that multiplies 10 FLOP while it moves a byte, so that all
  // ranks choose alike on any machine.
  const Hardware* hardware = nullptr;
};

// What a rank's passes compute, for the solver. `pipe`: its coordinate; all ranks there are taken
// to be alike. Experts' rows are balanced. Everything that the graph does not know, weights say, is
// in fixed_bytes, so that keeping everything costs what a trace of that says.
absl::StatusOr<RecomputeGraph> TraceGraph(const RunConfig& config, const RunLayout& layout,
                                          const BudgetRequest& request, int pipe);

// `config` itself unless it has a budget; else with rules that keep each pipe coordinate within it,
// as a trace of them has shown. InvalidArgument where the budget is too small: says which rank
// needs how much. `config` is resolved and its layout chosen. Sends nothing; the same on every
// rank.
absl::StatusOr<RunConfig> WithChosenRecompute(const RunConfig& config,
                                              const BudgetRequest& request);

bool HasBudget(const RunConfig& config);

}  // namespace choir
