// Graphs to choose on, and a slow, literal account of what a choice costs.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/recompute_cost.h"
#include "plan/recompute_graph.h"

namespace choir {

struct RandomGraphOptions {
  int kernels = 8;
  int layers = 3;  // names are drawn from few tags and layers, so that some are shared
  bool offload = true;
};
// Kernels with one to three outputs and views, read by later kernels and backward nodes at random.
RecomputeGraph RandomGraph(uint64_t seed, const RandomGraphOptions& options);

struct StackOptions {
  int layers = 4;
  int experts_from = 1 << 30;  // layers from this one on have experts
  int copies = 1;
  bool offload = false;
};
// Kernels, tensors and backward nodes of a transformer's stage, in made-up bytes and seconds of
// usual proportions. About 10 tensors in a dense layer, 20 in one with experts.
RecomputeGraph StackGraph(const StackOptions& options);

// The same as Evaluate, done by keeping what a tape would keep: after every step, everything that
// no future step can want is thrown away.
RecomputeCost LiteralCost(const RecomputeGraph& graph, const RecomputeChoice& choice);

// Counts through all actions of all classes: the next ones; false after the last.
bool Next(const RecomputeModel& model, ClassActions& actions);

}  // namespace choir
