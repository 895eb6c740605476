#include "parallel/mesh/layout_search.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "base/strings.h"
#include "parallel/mesh/degree_rules.h"

namespace choir {
namespace {

constexpr size_t kNearest = 3;

std::vector<int> Divisors(int n) {
  std::vector<int> all;
  for (int i = 1; i <= n; ++i) {
    if (n % i == 0) all.push_back(i);
  }
  return all;
}

// What is left of a config when its degrees are searched for.
ParallelConfig WithoutDegrees(ParallelConfig config) {
  config.auto_layout = false;
  return WithDegrees(std::move(config), Degrees());
}

// Calls body(config) for each pipeline, data, context, tensor of `world` ranks that keeps their
// rules; shard, expert and expert_tensor are 1.
template <class Body>
void ForEachBlock(const ParallelConfig& config, int world, const ModelLimits& limits,
                  const Body& body) {
  ParallelConfig block = WithoutDegrees(config);
  for (int pipe : Divisors(world)) {
    for (int data : Divisors(world / pipe)) {
      for (int context : Divisors(world / pipe / data)) {
        block.pipeline = pipe;
        block.data = data;
        block.context = context;
        block.tensor = world / pipe / data / context;
        if (BlockProblems(block, limits).empty() && StageListProblems(block).empty()) body(block);
      }
    }
  }
}

std::vector<int> ValidShards(ParallelConfig block) {
  std::vector<int> valid;
  for (int shard : Divisors(*block.data)) {
    block.shard = shard;
    if (ShardProblems(block).empty()) valid.push_back(shard);
  }
  return valid;
}

// Of expert, expert_tensor.
std::vector<std::pair<int, int>> ValidExperts(ParallelConfig block, const ModelLimits& limits) {
  std::vector<std::pair<int, int>> valid;
  const int ranks = *block.data * block.context * block.tensor;
  for (int expert : Divisors(ranks)) {
    for (int expert_tensor : Divisors(ranks / expert)) {
      block.expert = expert;
      block.expert_tensor = expert_tensor;
      if (ExpertProblems(block, limits).empty()) valid.emplace_back(expert, expert_tensor);
    }
  }
  return valid;
}

Degrees WithRest(const ParallelConfig& block, int shard, std::pair<int, int> experts) {
  ParallelConfig full = block;
  full.shard = shard;
  full.expert = experts.first;
  full.expert_tensor = experts.second;
  return DegreesOf(full);
}

// How far degrees are from those asked for. Every degree adds its own part, so that the nearest
// layouts are made of the nearest parts.
class Distance {
 public:
  void AddChange(int from, int to) {
    if (from == to) return;
    ++changed_;
    log_factor_ += std::abs(std::log2(static_cast<double>(to) / from));
  }
  // Equal products of factors are equal here, whatever the rounding of their logarithms.
  std::pair<int, int64_t> Key() const { return {changed_, std::llround(1e9 * log_factor_)}; }

 private:
  int changed_ = 0;
  double log_factor_ = 0;
};

std::pair<int, int64_t> DistanceTo(const ParallelConfig& wanted, const Degrees& degrees) {
  Distance distance;
  if (wanted.data) distance.AddChange(*wanted.data, degrees.replica * degrees.shard);
  distance.AddChange(wanted.shard, degrees.shard);
  distance.AddChange(wanted.pipeline, degrees.pipe);
  distance.AddChange(wanted.context, degrees.context);
  distance.AddChange(wanted.tensor, degrees.tensor);
  distance.AddChange(wanted.expert, degrees.expert);
  distance.AddChange(wanted.expert_tensor, degrees.expert_tensor);
  return distance.Key();
}

// Sorts `candidates` by `key`, keeps the first few.
template <class T, class Key>
void KeepNearest(std::vector<T>& candidates, const Key& key) {
  std::sort(candidates.begin(), candidates.end(),
            [&](const T& a, const T& b) { return key(a) < key(b); });
  if (candidates.size() > kNearest) candidates.resize(kNearest);
}

// Chunk-activations of the first stage at once (docs of the schedules), of `microbatches`.
int64_t ChunksInFlight(const ParallelConfig& config, int pipe, int64_t microbatches) {
  const int64_t stages = int64_t{pipe} * config.virtual_stages;
  const int64_t all = microbatches * config.virtual_stages;
  switch (config.schedule) {
    case PipelineKind::kGpipe:
      return all;
    case PipelineKind::kInterleaved:
      return std::min(all, stages + pipe - 1);
    case PipelineKind::kDualPipeV:
      return std::min(all, stages + 1);
    case PipelineKind::k1f1b:
    case PipelineKind::kZeroBubble:
      return std::min(all, stages);
  }
  CHECK(false) << "schedule " << static_cast<int>(config.schedule);
  __builtin_unreachable();
}

// Layouts that ChooseDegrees may take, in its order.
std::vector<Degrees> Choices(const ParallelConfig& config, int world, const ModelLimits& limits,
                             int node_size) {
  std::vector<Degrees> choices;
  ForEachBlock(config, world, limits, [&](const ParallelConfig& block) {
    if (limits.heads % block.tensor != 0 || limits.kv_heads % block.tensor != 0) return;
    if (node_size > 0 && node_size % block.tensor != 0) return;
    const int ranks = *block.data * block.context * block.tensor;
    const int expert = limits.experts == 0 ? 1 : std::gcd(ranks, limits.experts);
    for (int shard : ValidShards(block)) {
      if (shard == 1 || shard == *block.data)
        choices.push_back(WithRest(block, shard, {expert, 1}));
    }
  });
  std::sort(choices.begin(), choices.end(), [](const Degrees& a, const Degrees& b) {
    const auto key = [](const Degrees& d) {
      return std::tuple(d.pipe * d.context * d.tensor, d.context, d.pipe, d.shard);
    };
    return key(a) < key(b);
  });
  return choices;
}

std::string Size(double bytes) {
  const bool large = bytes >= (1 << 30);
  char text[32];
  std::snprintf(text, sizeof text, large ? "%.2f GiB" : "%.2f MiB",
                bytes / (large ? 1 << 30 : 1 << 20));
  return text;
}

}  // namespace

Degrees DegreesOf(const ParallelConfig& config) {
  CHECK(config.data.has_value() && *config.data % config.shard == 0);
  return {.pipe = config.pipeline,
          .replica = *config.data / config.shard,
          .shard = config.shard,
          .context = config.context,
          .tensor = config.tensor,
          .expert = config.expert,
          .expert_tensor = config.expert_tensor};
}

ParallelConfig WithDegrees(ParallelConfig config, const Degrees& degrees) {
  config.data = degrees.replica * degrees.shard;
  config.shard = degrees.shard;
  config.pipeline = degrees.pipe;
  config.context = degrees.context;
  config.tensor = degrees.tensor;
  config.expert = degrees.expert;
  config.expert_tensor = degrees.expert_tensor;
  return config;
}

std::vector<Degrees> ValidLayouts(int world, const ModelLimits& limits,
                                  const ParallelConfig& config) {
  std::vector<Degrees> all;
  ForEachBlock(config, world, limits, [&](const ParallelConfig& block) {
    const auto experts = ValidExperts(block, limits);
    for (int shard : ValidShards(block)) {
      for (const auto& pair : experts) all.push_back(WithRest(block, shard, pair));
    }
  });
  return all;
}

std::vector<Degrees> NearestLayouts(const ParallelConfig& config, int world,
                                    const ModelLimits& limits) {
  std::vector<Degrees> nearest;
  const auto key = [&](const Degrees& d) {
    return std::tuple(DistanceTo(config, d), d.pipe, d.tensor, d.context, d.expert_tensor, d.expert,
                      d.shard);
  };
  // The nearest layouts are made of the nearest shards and experts of their block.
  ForEachBlock(config, world, limits, [&](const ParallelConfig& block) {
    std::vector<int> shards = ValidShards(block);
    auto experts = ValidExperts(block, limits);
    if (shards.empty() || experts.empty()) return;
    KeepNearest(experts, [&](const auto& pair) { return key(WithRest(block, shards[0], pair)); });
    KeepNearest(shards, [&](int shard) { return key(WithRest(block, shard, experts[0])); });
    for (int shard : shards) {
      for (const auto& pair : experts) nearest.push_back(WithRest(block, shard, pair));
    }
    KeepNearest(nearest, key);
  });
  return nearest;
}

double RoughBytes(const ParallelConfig& config, const Degrees& degrees, const ModelLimits& limits,
                  const MemoryNeeds& needs) {
  const int stages = degrees.pipe * config.virtual_stages;
  const double chunk =
      static_cast<double>((limits.layers + stages - 1) / stages) / limits.layers;  // of the model
  const double held = std::min(1.0, chunk * config.virtual_stages);
  const Mesh mesh(degrees);
  const double dense = static_cast<double>(needs.dense_parameters) * held / degrees.tensor;
  const double experts = static_cast<double>(needs.expert_parameters) * held /
                         (degrees.expert * degrees.expert_tensor);
  const int expert_shards = degrees.shard > 1 ? mesh.Size(Axis::kExpertData) : 1;
  const int64_t microbatches = limits.microbatches / (degrees.replica * degrees.shard);
  const int64_t in_flight = needs.one_microbatch
                                ? microbatches * config.virtual_stages
                                : ChunksInFlight(config, degrees.pipe, microbatches);
  const double activations = needs.activation_bytes / (degrees.context * degrees.tensor) * chunk *
                             static_cast<double>(in_flight);
  return (dense + experts) * needs.parameter_bytes +
         (dense / degrees.shard + experts / expert_shards) * needs.optimizer_bytes + activations;
}

absl::StatusOr<Degrees> ChooseDegrees(const ParallelConfig& config, int world,
                                      const ModelLimits& limits, const MemoryNeeds& needs) {
  CHECK(world > 0);
  DegreeProblems problems = OptionProblems(config);
  Append(problems, NodeProblems(config, world));
  if (!problems.empty()) return absl::InvalidArgumentError(Sentences(problems));
  const std::vector<Degrees> choices = Choices(config, world, limits, needs.node_size);
  if (choices.empty()) {
    return absl::InvalidArgumentError(StrCat("parallel.auto_layout finds no layout of ",
                                             Ranks(world), " that keeps all rules for this model"));
  }
  const Degrees* least = nullptr;
  double least_bytes = 0;
  for (const Degrees& degrees : choices) {
    const double bytes = RoughBytes(config, degrees, limits, needs);
    if (bytes <= needs.rank_bytes) return degrees;
    if (least == nullptr || bytes < least_bytes) {
      least = &degrees;
      least_bytes = bytes;
    }
  }
  return absl::InvalidArgumentError(StrCat("parallel.auto_layout finds no layout of ", Ranks(world),
                                           " that fits ", Size(needs.rank_bytes),
                                           " a rank: ", ToString(*least), " needs least, about ",
                                           Size(least_bytes)));
}

}  // namespace choir
