// Parameters, FLOPs, kernels and exchanges of a published run, from its shape and layout.
#pragma once

#include "bench/planner/published_run.h"
#include "plan/workload.h"

namespace choir::planner {

// Weights in matrices; norms and biases left out.
double LayerParameters(const PublishedModel& model, bool dense);        // of all experts
double ActiveLayerParameters(const PublishedModel& model, bool dense);  // that a token meets
double ExpertParameters(const PublishedModel& model);                   // of one layer, routed
double Parameters(const PublishedModel& model);

// 6 x (active parameters without the embedding) + 6 L h s, half of it where attention is causal:
// forward and backward of one token.
double FlopsPerToken(const PublishedModel& model);

// Layers of each stage; embedding, head and extra prediction layer count as one each where that
// makes stages even.
std::vector<int> LayersOfStages(const PublishedModel& model, int stages);

StepWorkload BuildStep(const PublishedRun& run, int ranks_per_node);

}  // namespace choir::planner
