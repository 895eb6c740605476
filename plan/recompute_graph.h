// What one microbatch computes on one stage, as the choice of what to keep sees it: kernels, the
// tensors between them, and the backward nodes that read these. Recorded from a tape on which
// everything is kept (the recorder), or made by hand.
//
// What a tape does with a choice (ops/tape.h), and so what costs are made of:
// - A kept tensor is held from its kernel to its last reader: a backward node, or a kernel that
//   runs again. Without a reader in the backward pass it goes when the forward pass lets it go.
// - A dropped tensor goes when the forward pass lets it go. It is made again just before the first
//   reader in the backward pass, with everything dropped that its kernel reads, and then lives to
//   its last reader. So to drop B may force A to be held, or to be made again too.
// - A kernel runs again at most once, for all of its dropped outputs that are still wanted.
// - An offloaded tensor is a kept one whose bytes are in host memory from `offload_ahead` offloads
//   later (or the end of the forward pass) until `offload_ahead` offloaded tensors before its first
//   reader; tensors come back in reverse order of their kernels.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace choir {

struct RecomputeTensor {
  // Name and layer that policies are asked about; tensors with the same share one action. An empty
  // tag: nothing is asked, always kept (inputs), or a view, which does what its source does.
  std::string tag;
  int layer = -1;
  int64_t bytes = 0;  // of its storage, as the ledger counts; 0 for a view
  int view_of = -1;   // the tensor whose storage it shares; made at no cost whenever that is there.
                      // All with a tag that share a storage get one action
  int kernel = -1;    // that makes it; -1: comes from outside
  bool decision = false;  // always kept
  // The last kernel of the forward pass that runs while a handle (Var) is alive; number of kernels:
  // alive until the pass ends. At least `kernel`.
  int released = -1;
  // Microbatches that hold it, if it is held, when the stage's memory peaks: this one and those
  // that wait for their backward pass.
  int copies = 1;
  // Time by which a microbatch grows when it is sent to host memory and back, not hidden by
  // computation; negative: cannot be offloaded.
  double offload_seconds = -1;
};

// In the order of the forward pass.
struct RecomputeKernel {
  double seconds = 0;        // of one run
  std::vector<int> inputs;   // tensors, in the order in which it reads them
  std::vector<int> outputs;  // tensors
  int64_t workspace = 0;     // most bytes besides inputs and outputs while it runs
};

// In the order of the backward pass. Weight gradients that were put off are nodes of their own.
struct RecomputeNode {
  std::vector<int> reads;  // tensors, in the order in which it reads them
  // Gradients (and workspace) that are alive when it starts to read, and at its peak; without the
  // graph's tensors and without gradients of parameters.
  int64_t read_bytes = 0;
  int64_t peak_bytes = 0;
};

struct RecomputeGraph {
  std::vector<RecomputeTensor> tensors;
  std::vector<RecomputeKernel> kernels;
  std::vector<RecomputeNode> backward;
  int64_t fixed_bytes = 0;  // everything else on the device: weights, gradients, moments, buffers
  int offload_ahead = 1;
};

enum class RecomputeAction : uint8_t { kKeep, kRecompute, kOffload };

// One action for each tensor. Of views and inputs it is not read.
using RecomputeChoice = std::vector<RecomputeAction>;

struct RecomputeCost {
  int64_t peak_bytes = 0;  // of the device, fixed_bytes included
  int64_t held_bytes = 0;  // between the passes, of all copies
  int64_t host_bytes = 0;  // of all copies
  double seconds = 0;      // by which a microbatch grows: kernels that run again, transfers
  int replayed = 0;        // kernels that run again
  int peak_node = -1;      // the backward node of the peak; -1: in the forward pass
};

// Broken numbers, cycles, views of views or kernels out of order are a CHECK.
void CheckGraph(const RecomputeGraph& graph);

}  // namespace choir
