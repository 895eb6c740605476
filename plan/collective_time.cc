#include "plan/collective_time.h"

#include <algorithm>
#include <cmath>

#include "base/strings.h"

namespace choir {
namespace {

double Bandwidth(const LinkLevel& level) { return level.bytes_per_second * level.efficiency; }

struct Group {
  double n = 1, g = 1, nodes = 1;
};

Group GroupOf(const ExchangeItem& item) {
  const double n = item.ranks, g = std::max(1, std::min(item.ranks_per_node, item.ranks));
  return {n, g, std::ceil(n / g)};
}

// All-gather or reduce-scatter of `bytes` among n ranks of one level.
double FlatSeconds(double n, double bytes, const LinkLevel& level) {
  if (n <= 1) return 0;
  return (n - 1) * level.step_seconds + bytes * (n - 1) / n / Bandwidth(level);
}

// The bytes of a gather around a ring through all ranks.
double RingByteSeconds(const Group& group, double bytes, const Links& links) {
  double bandwidth = 1e300;
  if (group.g > 1) bandwidth = std::min(bandwidth, Bandwidth(links.intra_node));
  if (group.nodes > 1) bandwidth = std::min(bandwidth, group.g * Bandwidth(links.inter_node));
  return bytes * (group.n - 1) / group.n / bandwidth;
}

double RingSeconds(const Group& group, double bytes, const Links& links) {
  const double between = group.nodes > 1 ? std::min(group.nodes, group.n - 1) : 0;
  const double inside = group.n - 1 - between;
  return inside * links.intra_node.step_seconds + between * links.inter_node.step_seconds +
         RingByteSeconds(group, bytes, links);
}

double HierarchicalSeconds(const Group& group, double bytes, const Links& links) {
  return FlatSeconds(group.g, bytes, links.intra_node) +
         FlatSeconds(group.nodes, bytes / group.g, links.inter_node);
}

double TreeReduceSeconds(const Group& group, double bytes, const Links& links) {
  const double steps = (group.g - 1) * links.intra_node.step_seconds +
                       std::ceil(std::log2(group.nodes)) * links.inter_node.step_seconds;
  return 2 * (steps + RingByteSeconds(group, bytes, links));
}

// A gather or its mirror image; there is no tree of them.
double GatherSeconds(const Group& group, double bytes, const Links& links) {
  const double ring = RingSeconds(group, bytes, links);
  const double hierarchical = HierarchicalSeconds(group, bytes, links);
  switch (links.algorithm) {
    case CollectiveAlgorithm::kRing:
    case CollectiveAlgorithm::kTree:
      return ring;
    case CollectiveAlgorithm::kHierarchical:
      return hierarchical;
    case CollectiveAlgorithm::kBest:
      return std::min(ring, hierarchical);
  }
  return ring;
}

double AllReduceSeconds(const Group& group, double bytes, Links links) {
  links.intra_node.bytes_per_second *= links.intra_node.reduce_factor;
  links.inter_node.bytes_per_second *= links.inter_node.reduce_factor;
  const double ring = 2 * RingSeconds(group, bytes, links);
  const double hierarchical = 2 * HierarchicalSeconds(group, bytes, links);
  const double tree = TreeReduceSeconds(group, bytes, links);
  switch (links.algorithm) {
    case CollectiveAlgorithm::kRing:
      return ring;
    case CollectiveAlgorithm::kTree:
      return tree;
    case CollectiveAlgorithm::kHierarchical:
      return hierarchical;
    case CollectiveAlgorithm::kBest:
      return std::min({ring, hierarchical, tree});
  }
  return ring;
}

double AllToAllSeconds(const Group& group, double bytes, const Links& links) {
  const auto level_seconds = [&](double peers, const LinkLevel& level) {
    if (peers <= 0) return 0.0;
    return level.step_seconds + peers * level.message_seconds +
           bytes * peers / group.n / Bandwidth(level);
  };
  return std::max(level_seconds(group.g - 1, links.intra_node),
                  level_seconds(group.n - group.g, links.inter_node));
}

double SendSeconds(const Group& group, double bytes, const Links& links) {
  const LinkLevel& level = group.nodes > 1 ? links.inter_node : links.intra_node;
  return level.step_seconds + bytes / Bandwidth(level);
}

}  // namespace

double ExchangeSeconds(const ExchangeItem& item, const Links& links) {
  const Group group = GroupOf(item);
  if (group.n <= 1) return 0;
  const double call =
      (group.nodes > 1 ? links.inter_node.call_seconds : links.intra_node.call_seconds);
  switch (item.kind) {
    case ExchangeKind::kAllReduce:
      return call + AllReduceSeconds(group, item.bytes, links);
    case ExchangeKind::kAllGather:
    case ExchangeKind::kReduceScatter:
      return call + GatherSeconds(group, item.bytes, links);
    case ExchangeKind::kAllToAll:
      return call + AllToAllSeconds(group, item.bytes, links);
    case ExchangeKind::kSend:
      return call + SendSeconds(group, item.bytes, links);
  }
  return 0;
}

absl::Status CheckLinks(const ExchangeItem& item, const Links& links) {
  if (item.ranks <= 1) return absl::OkStatus();
  const auto missing = [&](const char* level) {
    return absl::InvalidArgumentError(
        choir::StrCat("links.", level, ".bytes_per_second is needed for exchanges along ",
                      item.axis, ": give the hardware file a number above 0"));
  };
  const Group group = GroupOf(item);
  if (group.g > 1 && links.intra_node.bytes_per_second <= 0) return missing("intra_node");
  if (group.nodes > 1 && links.inter_node.bytes_per_second <= 0) return missing("inter_node");
  return absl::OkStatus();
}

}  // namespace choir
