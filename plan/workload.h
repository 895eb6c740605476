// One training step as the time model sees it: what each pipeline stage computes and exchanges.
// Made from a trace of the real step on the meta device, or by hand for models that Choir cannot
// run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/work.h"
#include "parallel/pipeline/schedule.h"

namespace choir {

// The same kernel, `count` times.
struct WorkItem {
  Work work;
  double count = 1;
};

enum class ExchangeKind : uint8_t { kAllReduce, kAllGather, kReduceScatter, kAllToAll, kSend };

// What computation an exchange can hide behind.
enum class Overlap : uint8_t {
  kNone,  // the rank waits for it
  kPass   // behind the work of the same pass (sums of gradients, gathers of weights ahead of use,
          // experts' tokens in chunks)
};

// The same exchange, `count` times.
struct ExchangeItem {
  ExchangeKind kind = ExchangeKind::kAllReduce;
  std::string axis;        // "tensor", "expert", "replica+shard", ...: for reports
  int ranks = 1;           // of the group
  int ranks_per_node = 1;  // of the group's ranks, those that share a node with this one
  // All-reduce: of the tensor. All-gather, reduce-scatter: of the whole (gathered) tensor.
  // All-to-all: what this rank has for all ranks, itself included. Send: of the message.
  double bytes = 0;
  double count = 1;
  Overlap overlap = Overlap::kNone;
};

struct PassWork {
  std::vector<WorkItem> work;
  std::vector<ExchangeItem> exchanges;
};

// Sums over the items, with their counts.
double Flops(const PassWork& pass);
double MemoryBytes(const PassWork& pass);

// Of one microbatch.
struct StageWorkload {
  PassWork forward;
  PassWork backward_input;    // with recomputation; with the gradients of weights too where the
  PassWork backward_weight;   // schedule does not split them (then only the sum counts)
  double handover_bytes = 0;  // from this stage to the next, and as much back
};

struct StepWorkload {
  ScheduleSpec schedule;              // microbatches: of one data rank
  std::vector<StageWorkload> stages;  // by stage, each as its slowest rank does it
  // Once a step and rank: sums of gradients, gathers of weights, norms and the optimizer, of the
  // rank that needs longest. Sums that overlap hide behind its last backward pass, gathers behind
  // its first forward pass.
  PassWork update;
  int ranks = 1;           // of the job
  double tokens = 0;       // of the global batch
  double model_flops = 0;  // of the global batch: forward and backward, nothing recomputed
};

}  // namespace choir
