#include "plan/tape_to_graph.h"

#include "ops/offload.h"

namespace choir {

RecomputeGraph ToRecomputeGraph(const TapeGraph& tape, const TapeCosts& costs) {
  static_assert(OffloadQueue::kLeaving == OffloadQueue::kComing, "the graph has one number");
  RecomputeGraph graph{.fixed_bytes = costs.fixed_bytes,
                       .offload_ahead = static_cast<int>(OffloadQueue::kLeaving)};
  for (const TapeTensor& t : tape.tensors) {
    graph.tensors.push_back({.tag = t.tag,
                             .layer = t.layer,
                             .bytes = t.bytes,
                             .view_of = t.view_of,
                             .kernel = t.kernel,
                             .decision = t.decision,
                             .released = t.released,
                             .copies = costs.copies});
    if (t.view_of < 0 && t.kernel >= 0 && costs.offload_seconds) {
      graph.tensors.back().offload_seconds = costs.offload_seconds(t.bytes);
    }
  }
  for (const TapeKernel& k : tape.kernels) {
    graph.kernels.push_back(
        {costs.seconds ? costs.seconds(k) : k.seconds, k.inputs, k.outputs, k.workspace});
  }
  for (const TapeNode& n : tape.backward) {
    graph.backward.push_back({n.reads, n.read_bytes, n.peak_bytes});
  }
  CheckGraph(graph);
  return graph;
}

}  // namespace choir
