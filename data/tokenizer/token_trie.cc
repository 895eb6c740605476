#include "data/tokenizer/token_trie.h"

#include <algorithm>
#include <utility>

namespace choir {

TokenTrie::TokenTrie(const std::vector<std::string>& tokens) {
  // The tokens below a node are a range of the sorted ones.
  std::vector<int32_t> sorted(tokens.size());
  for (size_t i = 0; i < sorted.size(); ++i) sorted[i] = static_cast<int32_t>(i);
  std::sort(sorted.begin(), sorted.end(),
            [&](int32_t a, int32_t b) { return tokens[a] < tokens[b]; });
  struct Task {
    size_t begin, end, depth;
    int32_t node;
  };
  std::vector<Task> tasks{{0, sorted.size(), 0, 0}};
  std::vector<std::pair<uint8_t, size_t>> children;  // byte, where its range begins
  nodes_.resize(1024);
  nodes_[0].parent = 0;
  size_t first_free = 1;
  for (size_t t = 0; t < tasks.size(); ++t) {
    Task task = tasks[t];
    if (task.begin < task.end && tokens[sorted[task.begin]].size() == task.depth) {
      nodes_[task.node].code = sorted[task.begin++];
    }
    children.clear();
    for (size_t i = task.begin; i < task.end; ++i) {
      const auto byte = static_cast<uint8_t>(tokens[sorted[i]][task.depth]);
      if (children.empty() || children.back().first != byte) children.emplace_back(byte, i);
    }
    if (children.empty()) continue;
    while (first_free < nodes_.size() && nodes_[first_free].parent >= 0) ++first_free;
    size_t base = 0;
    // Where the table is nearly full below, looking there again and again costs more than holes do.
    size_t tries = 0;
    for (size_t at = first_free;; ++at) {
      if (at + 256 >= nodes_.size()) nodes_.resize(nodes_.size() * 2);
      if (nodes_[at].parent >= 0 || at < children[0].first) continue;
      base = at - children[0].first;
      const bool fits = std::all_of(children.begin(), children.end(), [&](const auto& child) {
        return nodes_[base + child.first].parent < 0;
      });
      if (fits) break;
      if (++tries == 256) first_free = at;
    }
    nodes_[task.node].base = static_cast<int32_t>(base);
    for (size_t i = 0; i < children.size(); ++i) {
      const auto node = static_cast<int32_t>(base + children[i].first);
      nodes_[node].parent = task.node;
      const size_t end = i + 1 < children.size() ? children[i + 1].second : task.end;
      tasks.push_back({children[i].second, end, task.depth + 1, node});
    }
  }
  // Leaves have base 0: a step from them lands on a child of the root or on nothing, and is
  // refused.
  size_t last = nodes_.size();
  while (nodes_[last - 1].parent < 0) --last;
  nodes_.resize(last + 256);
  nodes_.shrink_to_fit();
  nodes_[0].parent = -1;
}

}  // namespace choir
