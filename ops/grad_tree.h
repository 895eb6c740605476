// The sum of a weight's gradient over all tokens of a step, in an order that no layout changes.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "tensor/tensor.h"

namespace choir {

// A balanced binary tree over the token chunks of the microbatches of a step. Node (level, i)
// covers the two nodes 2 i and 2 i + 1 of level + 1; the root is (0, 0); the leaves are at
// `levels()`. Microbatch m of M is at the one node (log2 of M rounded up, i) whose range [i M /
// 2^level, (i + 1) M / 2^level) holds it; nodes with an empty range stay empty. So ranks that cut
// the microbatches into a power of two of equal parts hold whole nodes.
//
// With `outer` > 1 there are that many of these trees, one after another, joined by further levels
// at the root: for weights whose gradient is also a sum over something that a layout may split
// (a norm shared by heads that tensor parallelism splits).
class LeafTree {
 public:
  // `chunks` and `outer` are powers of two.
  LeafTree(int64_t microbatches, int64_t chunks, int64_t outer = 1);

  int levels() const { return outer_levels_ + microbatch_levels_ + chunk_levels_; }
  // The level whose nodes are microbatches (of one outer index).
  int microbatch_level() const { return outer_levels_ + microbatch_levels_; }
  int64_t microbatches() const { return microbatches_; }
  int64_t chunks() const { return chunks_; }
  int64_t outer() const { return outer_; }
  // Leaves of one outer index, empty ones included.
  int64_t TokenLeaves() const { return chunks_ << microbatch_levels_; }
  // The leaf of chunk `chunk` of microbatch `microbatch`: outer_index * TokenLeaves() + that of
  // outer index 0.
  int64_t Position(int64_t microbatch, int64_t chunk, int64_t outer_index = 0) const;
  bool Empty(int level, int64_t index) const;

 private:
  int64_t microbatches_, chunks_, outer_;
  int outer_levels_, microbatch_levels_, chunk_levels_;
};

class GradTree {
 public:
  struct Node {
    int level = 0;
    int64_t index = 0;
    Tensor sum;
  };

  explicit GradTree(std::shared_ptr<const LeafTree> shape) : shape_(std::move(shape)) {}

  // For gradients of microbatches whose tokens are spread over 2^`levels` ranks, each with as many
  // neighbouring chunks: as soon as a rank's part of a microbatch is complete, `sum` adds up those of
  // all ranks (in place, as a balanced binary tree in their order; it may block).
  void SumOverRanks(int levels, std::function<void(const Tensor&)> sum) {
    rank_levels_ = levels;
    sum_ = std::move(sum);
  }

  // Adds the gradient of one leaf; takes over `grad` (its only owner). Leaves come in any order,
  // each once: siblings are added as soon as both are there.
  void Add(int64_t leaf, Tensor grad);
  // The same with a sum that is complete, from another rank (of its Take).
  void AddNode(Node node);
  // The sums that are complete, ascending by position, and forgets them. One root, where all leaves
  // were added here.
  std::vector<Node> Take();

  const LeafTree& shape() const { return *shape_; }

 private:
  std::shared_ptr<const LeafTree> shape_;
  std::map<std::pair<int, int64_t>, Tensor> waiting_;  // by (level, index)
  int rank_levels_ = 0;
  std::function<void(const Tensor&)> sum_;
};

}  // namespace choir
