#include "parallel/zero/tree_gather.h"

#include <numeric>

#include "ops/elementwise.h"

namespace choir {
namespace {

TensorOptions NumbersOn(Device device) {
  return {DType::kI32, device, MemoryCategory::kCommunication};
}

// i32[members]: everyone's number; on meta all have as many.
std::vector<int64_t> GatherNumber(Communicator& group, int64_t mine, Device device) {
  const TensorOptions numbers = NumbersOn(device);
  const Tensor all = Tensor::Empty({group.size()}, numbers), one = Tensor::Empty({1}, numbers);
  if (device != Device::kMeta) *one.data<int32_t>() = static_cast<int32_t>(mine);
  const auto members = static_cast<size_t>(group.size());
  group.AllGather(all, one, std::vector<int64_t>(members, 1)).Wait();
  if (device == Device::kMeta) return std::vector<int64_t>(members, mine);
  const auto values = all.span<const int32_t>();
  return {values.begin(), values.end()};
}

std::vector<int64_t> Times(std::vector<int64_t> counts, int64_t width) {
  for (int64_t& n : counts) n *= width;
  return counts;
}

// Nodes of all members, in the order of the group.
std::vector<GradTree::Node> GatherNodes(Communicator& group,
                                        const std::vector<GradTree::Node>& mine,
                                        const Tensor& like) {
  const auto count = static_cast<int64_t>(mine.size());
  const bool meta = like.device() == Device::kMeta;
  const std::vector<int64_t> counts = GatherNumber(group, count, like.device());
  const int64_t total = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  const int64_t width = like.NumElements();
  const TensorOptions numbers = NumbersOn(like.device());
  const Tensor my_places = Tensor::Empty({count, 2}, numbers);
  const Tensor places = Tensor::Empty({total, 2}, numbers);
  const TensorOptions options = like.options(MemoryCategory::kCommunication);
  const Tensor my_sums = Tensor::Empty({count, width}, options);
  const Tensor sums = Tensor::Empty({total, width}, options);
  for (int64_t i = 0; i < count; ++i) {
    const GradTree::Node& node = mine[static_cast<size_t>(i)];
    if (!meta) {
      my_places.data<int32_t>()[2 * i] = node.level;
      my_places.data<int32_t>()[2 * i + 1] = static_cast<int32_t>(node.index);
    }
    my_sums.Rows(i, 1).CopyFrom(node.sum.Reshape({1, width}));
  }
  group.AllGather(places, my_places, Times(counts, 2)).Wait();
  group.AllGather(sums, my_sums, Times(counts, width)).Wait();
  std::vector<GradTree::Node> nodes;
  for (int64_t i = 0; i < total; ++i) {
    GradTree::Node node{0, 0, sums.Rows(i, 1).Reshape(like.shape()).Clone()};
    if (!meta) {
      node.level = places.data<int32_t>()[2 * i];
      node.index = places.data<int32_t>()[2 * i + 1];
    }
    nodes.push_back(std::move(node));
  }
  return nodes;
}

}  // namespace

std::shared_ptr<const LeafTree> OverHeads(const LeafTree& tokens) {
  return std::make_shared<LeafTree>(tokens.microbatches(), tokens.chunks(), kVirtualPieces);
}

Tensor FinishTree(Parameter& parameter, const Place& place, AxisSet axes) {
  std::vector<GradTree::Node> nodes = parameter.tree->Take();
  if (!axes.empty() && place.Size(axes) > 1) {
    nodes = GatherNodes(place.Group(axes), nodes, parameter.value);
    if (parameter.value.device() == Device::kMeta) return std::move(nodes[0].sum);
    for (GradTree::Node& node : nodes) parameter.tree->AddNode(std::move(node));
    nodes = parameter.tree->Take();
  }
  CHECK(!nodes.empty()) << parameter.name << " got no gradient";
  for (size_t n = 1; n < nodes.size(); ++n) AddInto(nodes[0].sum, nodes[n].sum);
  return std::move(nodes[0].sum);
}

}  // namespace choir
