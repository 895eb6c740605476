#include "plan/min_cut.h"

#include <algorithm>

#include "base/check.h"

namespace choir {

BinaryCosts::BinaryCosts(int variables)
    : source_(variables), sink_(variables + 1), leaving_(static_cast<size_t>(variables) + 2) {}

void BinaryCosts::AddEdge(int from, int to, int64_t capacity) {
  CHECK(capacity >= 0);
  if (capacity == 0) return;
  leaving_[static_cast<size_t>(from)].push_back(static_cast<int>(edges_.size()));
  edges_.push_back({to, std::min(capacity, kNever)});
  leaving_[static_cast<size_t>(to)].push_back(static_cast<int>(edges_.size()));
  edges_.push_back({from, 0});
}

// The source's side of the cut is one, the sink's zero.
void BinaryCosts::IfOne(int x, int64_t cost) { AddEdge(x, sink_, cost); }
void BinaryCosts::IfZero(int x, int64_t cost) { AddEdge(source_, x, cost); }
void BinaryCosts::IfOneAndZero(int x, int y, int64_t cost) { AddEdge(x, y, cost); }

bool BinaryCosts::FindLevels() {
  level_.assign(leaving_.size(), -1);
  level_[static_cast<size_t>(source_)] = 0;
  std::vector<int> queue{source_};
  for (size_t i = 0; i < queue.size(); ++i) {
    for (int e : leaving_[static_cast<size_t>(queue[i])]) {
      const Edge& edge = edges_[static_cast<size_t>(e)];
      if (edge.capacity == 0 || level_[static_cast<size_t>(edge.to)] >= 0) continue;
      level_[static_cast<size_t>(edge.to)] = level_[static_cast<size_t>(queue[i])] + 1;
      queue.push_back(edge.to);
    }
  }
  return level_[static_cast<size_t>(sink_)] >= 0;
}

int64_t BinaryCosts::Push(int from, int64_t most) {
  if (from == sink_) return most;
  const auto f = static_cast<size_t>(from);
  int64_t pushed = 0;
  for (size_t& i = next_[f]; i < leaving_[f].size(); ++i) {
    const auto e = static_cast<size_t>(leaving_[f][i]);
    const int to = edges_[e].to;
    if (edges_[e].capacity == 0 || level_[static_cast<size_t>(to)] != level_[f] + 1) continue;
    const int64_t now = Push(to, std::min(most - pushed, edges_[e].capacity));
    edges_[e].capacity -= now;
    edges_[e ^ 1].capacity += now;
    pushed += now;
    if (pushed == most) return pushed;  // this edge may take more
  }
  return pushed;
}

int64_t BinaryCosts::Minimise(std::vector<bool>& values) {
  int64_t cost = 0;
  while (FindLevels()) {
    next_.assign(leaving_.size(), 0);
    cost += Push(source_, kNever);
  }
  CHECK(cost < kNever) << "everything is forbidden";
  values.resize(leaving_.size() - 2);
  for (size_t i = 0; i < values.size(); ++i) values[i] = level_[i] >= 0;
  return cost;
}

}  // namespace choir
