// Which layouts `choir verify` tries.
#include "base/status.h"
#include "base/strings.h"
#include "train/layout.h"
#include "train/verify.h"

namespace choir {
namespace {

// Every axis alone, axes in pairs, and many at once. Those that a config does not allow (experts of
// a dense model, more stages than layers, more ranks than asked for) are left out.
constexpr const char* kLayouts[] = {
    // one axis
    "data=2", "data=4", "data=8", "data=2,shard=2", "data=4,shard=4", "data=4,shard=2",
    "data=8,shard=8", "data=8,shard=2", "tensor=2", "tensor=4", "tensor=8", "context=2",
    "context=4", "pipeline=2", "pipeline=2,schedule=gpipe", "pipeline=2,schedule=zero_bubble",
    "pipeline=2,virtual_stages=2,schedule=interleaved",
    "pipeline=2,virtual_stages=2,schedule=dualpipev", "pipeline=4", "pipeline=4,schedule=gpipe",
    "pipeline=4,schedule=zero_bubble",
    // experts over the data ranks
    "data=2,expert=2", "data=4,expert=2", "data=4,expert=4", "data=8,expert=8",
    "data=2,expert_tensor=2", "data=4,expert=2,expert_tensor=2", "data=2,shard=2,expert=2",
    "data=4,shard=4,expert=2", "data=4,shard=2,expert=4",
    // experts over other ranks than data
    "tensor=2,expert=2", "tensor=2,expert_tensor=2", "tensor=4,expert=4", "context=2,expert=2",
    "tensor=2,context=2,expert=4", "tensor=2,context=2,expert=2,expert_tensor=2",
    // two axes
    "data=2,tensor=2", "data=4,tensor=2", "data=2,tensor=4", "data=2,context=2", "data=4,context=2",
    "data=2,pipeline=2", "data=4,pipeline=2", "data=2,pipeline=2,schedule=zero_bubble",
    "tensor=2,context=2", "tensor=4,context=2", "tensor=2,pipeline=2", "context=2,pipeline=2",
    "data=2,shard=2,tensor=2", "data=4,shard=4,tensor=2", "data=2,shard=2,context=2",
    "data=2,shard=2,pipeline=2", "data=4,shard=2,pipeline=2", "data=2,tensor=2,expert=2",
    "data=2,tensor=2,expert=4", "data=2,context=2,expert=4", "data=2,pipeline=2,expert=2",
    // three and more
    "data=2,tensor=2,context=2", "data=2,tensor=2,pipeline=2", "data=2,context=2,pipeline=2",
    "tensor=2,context=2,pipeline=2", "data=2,shard=2,tensor=2,pipeline=2",
    "data=2,shard=2,context=2,pipeline=2", "data=2,tensor=2,context=2,expert=8",
    "data=2,tensor=2,pipeline=2,expert=4", "data=2,context=2,pipeline=2,expert=2",
    "data=2,shard=2,tensor=2,pipeline=2,expert=2",
    "data=2,shard=2,tensor=2,pipeline=2,expert=2,expert_tensor=2,schedule=zero_bubble",
    "tensor=2,context=2,pipeline=2,expert=4,schedule=gpipe", "data=4,shard=2,tensor=2",
    "data=4,shard=2,context=2", "data=8,shard=4", "data=2,context=4",
    "data=2,shard=2,tensor=2,context=2",
    // ZeRO 2 and 3
    "data=2,shard=2,zero=2", "data=2,shard=2,zero=3", "data=4,shard=2,zero=2",
    "data=4,shard=2,zero=3,bucket_mib=0.05", "data=4,shard=4,expert=2,zero=2",
    "data=4,shard=4,expert=2,zero=3", "data=2,shard=2,tensor=2,zero=2",
    "data=2,shard=2,tensor=2,zero=3", "data=2,shard=2,context=2,zero=2",
    "data=2,shard=2,context=2,zero=3", "data=2,shard=2,pipeline=2,zero=2,bucket_mib=0.05",
    "data=2,shard=2,pipeline=2,zero=3", "data=2,shard=2,pipeline=2,schedule=zero_bubble,zero=2",
    "data=2,shard=2,pipeline=2,schedule=zero_bubble,zero=3",
    "data=4,shard=2,tensor=2,expert=2,zero=3",
    "data=2,shard=2,tensor=2,pipeline=2,expert=2,expert_tensor=2,zero=3",
    // keys on a ring; in fast mode only
    "context=2,context_method=ring", "context=3,context_method=ring",
    "context=4,context_method=ring", "context=8,context_method=ring",
    "tensor=2,context=2,context_method=ring", "context=2,pipeline=2,context_method=ring",
    "data=2,context=2,expert=4,context_method=ring", "data=2,shard=2,context=2,context_method=ring",
    "tensor=2,context=4,expert=2,context_method=ring",
    "tensor=2,context=2,pipeline=2,expert=4,schedule=gpipe,context_method=ring",
    // exchanges in pieces, over nodes, and with dropped choices
    "data=2,expert=2,expert_chunks=4", "tensor=2,expert=2,expert_chunks=2,capacity_factor=0.8",
    "data=2,tensor=2,expert=4,expert_chunks=2", "context=2,capacity_factor=0.8",
    "data=2,expert_tensor=2,expert_chunks=3", "data=4,expert=4,two_level_exchange=true,node_size=2",
    "data=2,tensor=2,context=2,expert=4,expert_tensor=2,two_level_exchange=true,node_size=4,"
    "expert_chunks=2,capacity_factor=0.8",
    "tensor=2,context=2,pipeline=2,expert=2,expert_chunks=2,capacity_factor=1",
    // no powers of two
    "data=3", "tensor=3", "context=3", "data=2,tensor=3", "tensor=5", "data=5", "data=6,expert=3"};

}  // namespace

absl::StatusOr<VerifyLayout> ParseLayout(const std::string& text) {
  std::string yaml;
  for (char c : text) yaml += c == '=' ? std::string(": ") : std::string(1, c == ',' ? '\n' : c);
  ASSIGN_OR_RETURN(const ConfigTree tree, ConfigTree::ParseString(yaml + "\n", text));
  VerifyLayout layout;
  layout.name = text;
  ASSIGN_OR_RETURN(layout.parallel, LoadConfig<ParallelConfig>(tree));
  ParallelConfig& p = layout.parallel;
  p.data = p.data.value_or(1);
  layout.world = *p.data * p.context * p.tensor * p.pipeline;
  return layout;
}

ParallelConfig ParallelOf(const VerifyLayout& layout, const RunConfig& config) {
  ParallelConfig parallel = layout.parallel;
  if (!parallel.capacity_factor) parallel.capacity_factor = config.parallel.capacity_factor;
  return parallel;
}

std::vector<VerifyLayout> DefaultLayouts(const RunConfig& config, int ranks) {
  std::vector<VerifyLayout> layouts;
  for (const char* text : kLayouts) {
    const auto layout = ParseLayout(text);
    CHECK(layout.ok()) << layout.status();
    if (layout->world > ranks) continue;
    RunConfig changed = config;
    changed.parallel = ParallelOf(*layout, config);
    if (PlanLayout(changed, layout->world).ok()) layouts.push_back(*layout);
  }
  return layouts;
}

}  // namespace choir
