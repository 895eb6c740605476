// One layer of a published model as parts, each with its forward and backward kernels and
// exchanges, so that a recompute policy can name them:
//
//   norm         both norms                     act         GELU or SwiGLU of dense layers
//   qkv          projections before attention   fc2         the way out, with its exchange
//   core_attn    attention                      router      routing and both permutations
//   proj         projection behind it           dispatch    tokens to their experts and back
//   residual     both sums                      experts_up, moe_act, experts_down
//   fc1          the way into the MLP           shared      experts that every token meets
#pragma once

#include <string>
#include <vector>

#include "bench/planner/published_run.h"
#include "plan/workload.h"

namespace choir::planner {

struct LayerPart {
  std::string name;
  PassWork forward;
  PassWork backward;
};

// Where the ranks of a layer's groups are.
struct LayerPlace {
  int ranks_per_node = 8;
  const PublishedRun* run = nullptr;
};

// Parts of one layer for one microbatch on one rank. `window`: attention sees model.window keys.
std::vector<LayerPart> LayerParts(const LayerPlace& place, bool dense, bool window);
// The head with its loss, the embedding, and the projection of the extra prediction layer.
LayerPart HeadPart(const LayerPlace& place);
LayerPart EmbeddingPart(const LayerPlace& place);
LayerPart PredictionPart(const LayerPlace& place);

// Ranks of `ranks` that share a node, where neighbours are `stride` ranks apart.
int RanksOnNode(int ranks, int stride, int ranks_per_node);

}  // namespace choir::planner
