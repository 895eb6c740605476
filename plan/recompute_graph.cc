#include "plan/recompute_graph.h"

#include "base/check.h"

namespace choir {
namespace {

void CheckIndices(const std::vector<int>& indices, size_t size) {
  for (int i : indices) CHECK(i >= 0 && static_cast<size_t>(i) < size);
}

void CheckTensor(const RecomputeGraph& graph, const RecomputeTensor& tensor) {
  const int kernels = static_cast<int>(graph.kernels.size());
  CHECK(tensor.bytes >= 0 && tensor.copies >= 1) << tensor.tag;
  CHECK(tensor.kernel >= -1 && tensor.kernel < kernels) << tensor.tag;
  CHECK(tensor.released >= tensor.kernel && tensor.released <= kernels) << tensor.tag;
  if (tensor.view_of < 0) return;
  const RecomputeTensor& source = graph.tensors.at(static_cast<size_t>(tensor.view_of));
  CHECK(source.view_of < 0) << tensor.tag << ": a view of a view";
  CHECK(tensor.bytes == 0 && tensor.copies == source.copies) << tensor.tag;
}

}  // namespace

void CheckGraph(const RecomputeGraph& graph) {
  CHECK(graph.fixed_bytes >= 0 && graph.offload_ahead >= 0);
  for (const RecomputeTensor& tensor : graph.tensors) CheckTensor(graph, tensor);
  for (size_t k = 0; k < graph.kernels.size(); ++k) {
    const RecomputeKernel& kernel = graph.kernels[k];
    CHECK(kernel.seconds >= 0 && kernel.workspace >= 0);
    CheckIndices(kernel.inputs, graph.tensors.size());
    CheckIndices(kernel.outputs, graph.tensors.size());
    for (int i : kernel.inputs) {
      CHECK(graph.tensors[static_cast<size_t>(i)].kernel < static_cast<int>(k))
          << "a kernel reads what is made later";
    }
    for (int i : kernel.outputs) {
      CHECK(graph.tensors[static_cast<size_t>(i)].kernel == static_cast<int>(k));
    }
  }
  for (const RecomputeNode& node : graph.backward) {
    CheckIndices(node.reads, graph.tensors.size());
    CHECK(node.read_bytes >= 0 && node.peak_bytes >= 0);
  }
}

}  // namespace choir
