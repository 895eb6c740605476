// Which ZeRO shard updates which matrices (DeepSeek-V4, section 3.5.1: dense matrices are never
// split, experts are spread uncut).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "optim/config.h"
#include "optim/settings.h"
#include "parallel/mesh/placement.h"

namespace choir {

// A parameter of the whole model, on pipeline rank `pipe`.
struct PlannedParameter {
  std::string name;
  Placement placement;
  const Matrices* matrices = nullptr;
  int pipe = 0;
};

// How even the shards of one pipeline rank are.
struct ShardBalance {
  int pipe = 0;
  AxisSet axes;
  int shards = 1;
  // The largest shard over the mean: of arithmetic, and of elements of state ("padding").
  double work = 1, elements = 1;
};

struct MatrixPlan {
  std::vector<ShardCut> cuts;         // of each parameter; as it was where the rule is element-wise
  std::vector<ShardBalance> balance;  // of matrices that ZeRO shards; empty without any
};

// Dense parameters of a pipeline rank go to the shards by longest processing time first (Graham
// 1969: at most 4/3 of the best), by their work: products of Newton-Schulz, or elements. Experts
// are cut evenly between experts. A pure function: every rank finds the same, whatever its place.
MatrixPlan PlanMatrices(const OptimConfig& config, std::span<const PlannedParameter> parameters,
                        const Mesh& mesh);

// "matrices of pipeline rank 0 over shard (4): work 1.02, elements 1.05 of the mean at most", a
// line for each.
std::string Describe(const MatrixPlan& plan);

}  // namespace choir
