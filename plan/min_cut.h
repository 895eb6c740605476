// Minimum cuts: minimises sums of costs of binary variables whose pairs like to be equal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace choir {

// A function of binary variables: a constant, and costs >= 0 of single values and of pairs.
// Minimised as the minimum cut of a network (Dinic, "Algorithm for solution of a problem of
// maximum flow in networks with power estimation", 1970), exactly, in whole numbers.
class BinaryCosts {
 public:
  static constexpr int64_t kNever = int64_t{1} << 60;  // forbidden

  explicit BinaryCosts(int variables);
  void IfOne(int x, int64_t cost);
  void IfZero(int x, int64_t cost);
  void IfOneAndZero(int x, int y, int64_t cost);  // x = 1 and y = 0

  // The least cost; `values` becomes the least such assignment (fewest ones). Not reached kNever:
  // CHECKed. Once only.
  int64_t Minimise(std::vector<bool>& values);

 private:
  struct Edge {
    int to;
    int64_t capacity;
  };
  void AddEdge(int from, int to, int64_t capacity);
  bool FindLevels();
  int64_t Push(int from, int64_t most);

  int source_, sink_;
  std::vector<Edge> edges_;  // each followed by its reverse
  std::vector<std::vector<int>> leaving_;
  std::vector<int> level_;
  std::vector<size_t> next_;
};

}  // namespace choir
