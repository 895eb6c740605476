#include "base/fault.h"

#include <array>

#include "base/check.h"

namespace choir {
namespace {

constexpr std::array<std::string_view, static_cast<size_t>(Fault::kCount)> kNames = {
    "none",
    "gradient not summed over tensor ranks",
    "gradient not summed over context ranks",
    "gradient not summed over replicas",
    "expert gradient not summed over data",
    "head norm not summed over tensor ranks",
    "gradient averaged over data ranks",
    "tied head's gradient added twice",
    "tied copy lacks the embedding's gradient",
    "gather's gradient averaged",
    "row-parallel product not summed",
    "updated values not gathered",
    "shard boundaries off by one piece",
    "reduce-scatter gives neighbour's piece",
    "microbatch replaces the gradient's shard",
    "gathered weight outlives the update",
    "another layer's weight gathered",
    "matrix lacks a rank's slice",
    "matrix has no owner",
    "momentum of another matrix",
    "norm counts replicas",
    "norm misses experts",
    "group's norm of one rank",
    "norm misses stages",
    "loss divided by local labels",
    "loss counted on every tensor rank",
    "rows cut on the first data rank only",
    "last microbatch dropped on one rank",
    "label logit counted twice",
    "embedding rows counted from zero",
    "positions restart on context ranks",
    "document boundaries of the local piece",
    "last keys of the ring skipped",
    "ring masks by local places",
    "ring saves the own keys' log-sum-exp",
    "ring's key gradients do not return",
    "router bias from local counts",
    "balance slopes from local counts",
    "rows of two sources swapped",
    "expert parts not summed",
    "pieces of an exchange swapped",
    "capacity from local counts",
    "dropped choices still summed",
    "no gradient for weights of other nodes",
    "blocks counted from the rank's part",
    "squares counted from the rank's rows",
    "part of the head not rounded",
    "stage takes another microbatch",
    "initial values by local index",
    "infinite gradient on one rank",
    "offloaded tensor taken for another",
    "recomputed activations not rounded",
    "routing decided again",
};
static_assert(!kNames.back().empty());

std::atomic<int64_t> hit_count{0};

}  // namespace

std::string_view Name(Fault fault) { return kNames.at(static_cast<size_t>(fault)); }

bool internal::HitFault() {
  hit_count.fetch_add(1, std::memory_order_relaxed);
  return true;
}

ScopedFault::ScopedFault(Fault fault) {
  CHECK(internal::injected_fault.load() == Fault::kNone) << Name(fault) << " beside another";
  hit_count = 0;
  internal::injected_fault = fault;
}

ScopedFault::~ScopedFault() { internal::injected_fault = Fault::kNone; }

int64_t ScopedFault::hits() const { return hit_count.load(); }

}  // namespace choir
