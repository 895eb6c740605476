// Layouts of a job: all, the nearest to a wrong one, and a good one.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "parallel/mesh/degrees.h"

namespace choir {

// The degrees of a config whose data is given and a multiple of shard, and a config with other
// degrees.
Degrees DegreesOf(const ParallelConfig& config);
ParallelConfig WithDegrees(ParallelConfig config, const Degrees& degrees);

// Every layout of `world` ranks that keeps the rules; of `config` only zero, context_method,
// schedule, virtual_stages and layers_per_stage count. Ascending by pipe, data, context, tensor,
// shard, expert, expert_tensor. There may be many: a job of 4096 ranks has some 10^5.
std::vector<Degrees> ValidLayouts(int world, const ModelLimits& limits,
                                  const ParallelConfig& config = {});

// Up to three of ValidLayouts, those nearest to the degrees of `config`: fewest changed degrees,
// then the smallest product of the factors by which they change, then least pipe, tensor, context,
// expert_tensor, expert, shard. Data that is auto follows and does not count.
std::vector<Degrees> NearestLayouts(const ParallelConfig& config, int world,
                                    const ModelLimits& limits);

// What decides whether a layout fits: parameters in elements, the rest in bytes.
struct MemoryNeeds {
  int64_t dense_parameters = 0;
  int64_t expert_parameters = 0;  // of routed experts
  double parameter_bytes = 8;     // of each: weight and gradient
  double optimizer_bytes = 12;    // of each: master weight and moments, what ZeRO 1 shards
  double activation_bytes = 0;    // of one microbatch and all layers, kept for its backward
  bool one_microbatch = false;    // a data rank runs all its microbatches as one
  double rank_bytes = 0;          // a rank has
  int node_size = 0;              // ranks of a node; 0: unknown
};

// Bytes of the fullest rank, roughly (`choir plan` is exact): layers are taken as equal, optimizer
// state is cut by shard (that of experts over all copies of theirs where shard > 1), activations by
// context and tensor, as often as the schedule has microbatches in flight on the first stage.
double RoughBytes(const ParallelConfig& config, const Degrees& degrees, const ModelLimits& limits,
                  const MemoryNeeds& needs);

// The layout for auto_layout, by one rule. Of the layouts that keep the rules and where tensor
// divides heads, key-value heads and the node's ranks (equal work, no matrices cut across nodes),
// the first whose RoughBytes fit, in this order:
//   1. fewest ranks to a copy of the model, pipe x context x tensor: data ranks exchange least;
//   2. least context, then least pipe: tensor before pipeline (no bubble), context last;
//   3. shard 1, then shard = data: sharding costs less than a larger copy.
// Experts go over as many ranks as divides their number, of data x context x tensor; expert_tensor
// is 1. InvalidArgument with the smallest need where none fits, and where the options of `config`
// contradict each other; of its degrees none counts.
absl::StatusOr<Degrees> ChooseDegrees(const ParallelConfig& config, int world,
                                      const ModelLimits& limits, const MemoryNeeds& needs);

}  // namespace choir
