// How many ranks each kind of parallelism gets: the `parallel:` section of a config, and the rules
// that model and job put on it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/config.h"
#include "parallel/mesh/mesh.h"
#include "parallel/pipeline/schedule.h"

namespace choir {

// How ranks that hold other tokens of a sequence attend to each other.
enum class ContextMethod {
  kUlysses,  // heads are exchanged for tokens (Jacobs et al. 2023)
  kRing      // keys and values travel round (Liu et al. 2023)
};

template <>
struct EnumNames<ContextMethod> {
  static constexpr EnumName<ContextMethod> kAll[] = {{ContextMethod::kUlysses, "ulysses"},
                                                     {ContextMethod::kRing, "ring"}};
};
template <>
struct EnumNames<PipelineKind> {
  static constexpr EnumName<PipelineKind> kAll[] = {{PipelineKind::kGpipe, "gpipe"},
                                                    {PipelineKind::k1f1b, "1f1b"},
                                                    {PipelineKind::kInterleaved, "interleaved"},
                                                    {PipelineKind::kZeroBubble, "zero_bubble"},
                                                    {PipelineKind::kDualPipeV, "dualpipev"}};
};

// pipeline x data x context x tensor = the ranks of the job.
struct ParallelConfig {
  static constexpr int kMaxDegree = 1 << 15;  // products of four fit in 64 bits

  std::optional<int> data;
  int shard = 1;
  std::optional<int> zero;
  int tensor = 1;
  int expert = 1;
  int expert_tensor = 1;
  int context = 1;
  ContextMethod context_method = ContextMethod::kUlysses;
  int pipeline = 1;
  PipelineKind schedule = PipelineKind::k1f1b;
  int virtual_stages = 1;
  std::vector<int> layers_per_stage;
  int expert_chunks = 1;
  std::optional<double> capacity_factor;
  std::optional<int> node_size;
  bool two_level_exchange = false;
  double bucket_mib = 25;
  bool check_collectives = false;
  double timeout_s = 600;
  bool auto_layout = false;
  std::optional<double> rank_memory_gib;

  // `parallel: auto`.
  static constexpr const char* kWord = "auto";
  void SetByWord() { auto_layout = true; }
  void Visit(auto&& v) {
    v("data", data, "ranks that see different data; auto: what the other degrees leave",
      InRange(1, kMaxDegree));
    v("shard", shard,
      "of the data ranks, those that share one copy of the sharded state (ZeRO); the rest are "
      "replicas",
      InRange(1, kMaxDegree));
    v("zero", zero,
      "what is sharded: 0 nothing, 1 optimizer state, 2 also gradients, 3 also weights; auto: 1 "
      "where shard is above 1, else 0",
      InRange(0, 3));
    v("tensor", tensor, "ranks that split each matrix", InRange(1, kMaxDegree));
    v("expert", expert, "ranks that hold different routed experts", InRange(1, kMaxDegree));
    v("expert_tensor", expert_tensor, "ranks that split each expert's matrices",
      InRange(1, kMaxDegree));
    v("context", context, "ranks that hold other tokens of a sequence", InRange(1, kMaxDegree));
    v("context_method", context_method,
      "how they attend to each other's tokens: ulysses trades tokens for heads, and context x "
      "tensor "
      "is at most the heads; ring sends keys and values round, for numerics: fast");
    v("pipeline", pipeline, "ranks that hold different layers", InRange(1, kMaxDegree));
    v("schedule", schedule, "order of the passes on a pipeline");
    v("virtual_stages", virtual_stages, "stages of each pipeline rank", InRange(1, kMaxDegree));
    v("layers_per_stage", layers_per_stage, "layers of each stage in the model's order; []: even",
      AtLeast(1));
    v("expert_chunks", expert_chunks,
      "pieces of the token exchange, so that it overlaps with the experts' products; at most the "
      "experts of any rank",
      AtLeast(1));
    v("capacity_factor", capacity_factor,
      "choices an expert takes of a microbatch, as a multiple of its even share, first come first "
      "served; the rest are dropped. It changes what is trained; auto: none are dropped",
      Above(0));
    v("node_size", node_size, "ranks of a node, for two_level_exchange; auto: as the launcher says",
      InRange(1, kMaxDegree));
    v("two_level_exchange", two_level_exchange,
      "send tokens once to every node that has experts for them, then inside the node; numerics "
      "fast only");
    v("bucket_mib", bucket_mib, "MiB of gradients that are reduced at once", Above(0));
    v("check_collectives", check_collectives,
      "compare every collective with the other ranks' before it starts");
    v("timeout_s", timeout_s, "seconds a rank waits for the others before the job ends", Above(0));
    v("auto_layout", auto_layout,
      "choose all degrees from model, ranks and memory; `parallel: auto` is short for it");
    v("rank_memory_gib", rank_memory_gib,
      "GiB that a rank may use, for auto_layout; auto: nine tenths of its share of the free memory "
      "of its node",
      Above(0));
  }
  void Check(ConfigErrors& errors) const;
};

// What a model and its batch allow. 0 experts: a dense model.
struct ModelLimits {
  int layers = 1, hidden = 1, heads = 1, kv_heads = 1;
  int ffn = 0;  // 0: no dense feed-forward
  int experts = 0, expert_width = 0;
  int64_t vocab = 1;
  int64_t microbatches = 1;  // of a step, over all data ranks
  int64_t tokens = 1;        // of a sequence of a microbatch
};

// The layout that a config asks for on `world` ranks. Otherwise InvalidArgument with a line for
// each broken rule, `parallel.KEY what is wrong`, numbers included, and the nearest valid layouts
// (NearestLayouts), where there are some. The values of `config` are within the limits of Visit.
// Not for auto_layout: that is ChooseDegrees (CHECKed).
absl::StatusOr<Degrees> ResolveDegrees(const ParallelConfig& config, int world,
                                       const ModelLimits& limits);

// The stage of ZeRO that is in force.
int ZeroStage(const ParallelConfig& config, const Degrees& degrees);

// "data=4 shard=2 tensor=2": keys of the section; degrees of 1 are left out, but for data.
std::string ToString(const Degrees& degrees);

}  // namespace choir
