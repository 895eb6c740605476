// Merging neighbours, the lowest rank first and the leftmost of equal ones: a linked list of parts
// and a heap of the pairs that can be merged.
#pragma once

#include <cstdint>
#include <queue>
#include <vector>

namespace choir {

// `parts` in order; `rank_of(a, b)` is the rank of what two neighbouring parts become, negative if
// they do not merge, and `merged(a, b, rank)` that part. Afterwards `parts` holds what is left.
// `on_merge(a, b, rank)` sees every merge. O(n log n).
template <class Part, class RankOf, class Merged, class OnMerge>
void MergeInOrder(std::vector<Part>& parts, RankOf rank_of, Merged merged, OnMerge on_merge) {
  struct Node {
    Part part;
    int32_t previous, next;
    uint32_t version;  // changes when the part does
  };
  struct Candidate {
    int32_t rank, at;
    uint32_t version, next_version;
    bool operator<(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  const auto n = static_cast<int32_t>(parts.size());
  std::vector<Node> nodes;
  nodes.reserve(parts.size());
  for (int32_t i = 0; i < n; ++i) nodes.push_back({parts[i], i - 1, i + 1 < n ? i + 1 : -1, 0});
  std::priority_queue<Candidate> heap;
  const auto offer = [&](int32_t at) {
    if (at < 0 || nodes[at].next < 0) return;
    const Node& next = nodes[nodes[at].next];
    const int32_t rank = rank_of(nodes[at].part, next.part);
    if (rank >= 0) heap.push({rank, at, nodes[at].version, next.version});
  };
  for (int32_t i = 0; i < n; ++i) offer(i);
  constexpr uint32_t kGone = ~uint32_t{0};
  while (!heap.empty()) {
    const Candidate best = heap.top();
    heap.pop();
    Node& node = nodes[best.at];
    if (node.version != best.version || node.next < 0) continue;
    Node& next = nodes[node.next];
    if (next.version != best.next_version) continue;
    on_merge(node.part, next.part, best.rank);
    node.part = merged(node.part, next.part, best.rank);
    ++node.version;
    next.version = kGone;
    node.next = next.next;
    if (node.next >= 0) nodes[node.next].previous = best.at;
    offer(node.previous);
    offer(best.at);
  }
  parts.clear();
  for (int32_t i = n > 0 ? 0 : -1; i >= 0; i = nodes[i].next) parts.push_back(nodes[i].part);
}

}  // namespace choir
