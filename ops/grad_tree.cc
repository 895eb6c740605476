#include "ops/grad_tree.h"

#include <algorithm>
#include <bit>

#include "ops/elementwise.h"

namespace choir {
namespace {

int CeilLog2(int64_t n) { return static_cast<int>(std::bit_width(static_cast<uint64_t>(n - 1))); }

}  // namespace

LeafTree::LeafTree(int64_t microbatches, int64_t chunks)
    : microbatches_(microbatches), chunks_(chunks) {
  CHECK(microbatches > 0 && chunks > 0);
  CHECK(std::has_single_bit(static_cast<uint64_t>(chunks))) << chunks;
  microbatch_levels_ = CeilLog2(microbatches);
  levels_ = microbatch_levels_ + CeilLog2(chunks);
}

int64_t LeafTree::Position(int64_t microbatch, int64_t chunk) const {
  CHECK(microbatch >= 0 && microbatch < microbatches_);
  CHECK(chunk >= 0 && chunk < chunks_);
  // The node i with i M >> levels <= microbatch < (i + 1) M >> levels.
  const int64_t node = (((microbatch + 1) << microbatch_levels_) - 1) / microbatches_;
  return node * chunks_ + chunk;
}

bool LeafTree::Empty(int level, int64_t index) const {
  const int shift = std::max(0, level - microbatch_levels_);
  const int of_microbatches = std::min(level, microbatch_levels_);
  const int64_t node = index >> shift;
  return (node * microbatches_ >> of_microbatches) ==
         ((node + 1) * microbatches_ >> of_microbatches);
}

void GradTree::Add(int64_t leaf, Tensor grad) {
  int level = shape_->levels();
  int64_t index = leaf;
  CHECK(index >= 0 && index < int64_t{1} << level) << index;
  for (; level > 0; --level, index /= 2) {
    const auto sibling = waiting_.find({level, index ^ 1});
    if (sibling != waiting_.end()) {
      AddInto(grad, sibling->second);
      waiting_.erase(sibling);
    } else if (!shape_->Empty(level, index ^ 1)) {
      break;
    }
  }
  CHECK(waiting_.emplace(std::pair(level, index), std::move(grad)).second)
      << "leaf " << leaf << " was added twice";
}

std::vector<GradTree::Node> GradTree::Take() {
  std::vector<Node> nodes;
  for (auto& [place, sum] : waiting_) nodes.push_back({place.first, place.second, std::move(sum)});
  waiting_.clear();
  const int levels = shape_->levels();
  std::sort(nodes.begin(), nodes.end(), [levels](const Node& a, const Node& b) {
    return a.index << (levels - a.level) < b.index << (levels - b.level);
  });
  return nodes;
}

}  // namespace choir
