#include "ops/grad_tree.h"

#include <algorithm>
#include <bit>

#include "ops/elementwise.h"

namespace choir {
namespace {

int CeilLog2(int64_t n) { return static_cast<int>(std::bit_width(static_cast<uint64_t>(n - 1))); }

}  // namespace

LeafTree::LeafTree(int64_t microbatches, int64_t chunks, int64_t outer)
    : microbatches_(microbatches), chunks_(chunks), outer_(outer) {
  CHECK(microbatches > 0) << microbatches;
  CHECK(chunks > 0 && std::has_single_bit(static_cast<uint64_t>(chunks))) << chunks;
  CHECK(outer > 0 && std::has_single_bit(static_cast<uint64_t>(outer))) << outer;
  outer_levels_ = CeilLog2(outer);
  microbatch_levels_ = CeilLog2(microbatches);
  chunk_levels_ = CeilLog2(chunks);
}

int64_t LeafTree::Position(int64_t microbatch, int64_t chunk, int64_t outer_index) const {
  CHECK(microbatch >= 0 && microbatch < microbatches_) << microbatch << " of " << microbatches_;
  CHECK(chunk >= 0 && chunk < chunks_) << chunk << " of " << chunks_;
  CHECK(outer_index >= 0 && outer_index < outer_) << outer_index << " of " << outer_;
  // The node i with i M >> levels <= microbatch < (i + 1) M >> levels.
  const int64_t node = (((microbatch + 1) << microbatch_levels_) - 1) / microbatches_;
  return outer_index * TokenLeaves() + node * chunks_ + chunk;
}

bool LeafTree::Empty(int level, int64_t index) const {
  const int token_level = level - outer_levels_;
  if (token_level <= 0) return false;  // holds a whole tree of tokens
  const int shift = std::max(0, token_level - microbatch_levels_);
  const int of_microbatches = std::min(token_level, microbatch_levels_);
  const int64_t node = index % (int64_t{1} << token_level) >> shift;
  return (node * microbatches_ >> of_microbatches) ==
         ((node + 1) * microbatches_ >> of_microbatches);
}

void GradTree::Add(int64_t leaf, Tensor grad) {
  AddNode({shape_->levels(), leaf, std::move(grad)});
}

void GradTree::AddNode(Node node) {
  auto& [level, index, sum] = node;
  CHECK(level >= 0 && level <= shape_->levels()) << level << " of " << shape_->levels();
  CHECK(index >= 0 && index < int64_t{1} << level) << index << " at level " << level;
  CHECK(!shape_->Empty(level, index)) << "node " << index << " at level " << level << " is empty";
  for (; level > 0; --level, index /= 2) {
    if (rank_levels_ > 0 && level == shape_->microbatch_level() + rank_levels_) {
      sum_(sum);
      level -= rank_levels_;
      index >>= rank_levels_;
      if (level == 0) break;
    }
    const auto sibling = waiting_.find({level, index ^ 1});
    if (sibling != waiting_.end()) {
      AddInto(sum, sibling->second);
      waiting_.erase(sibling);
    } else if (!shape_->Empty(level, index ^ 1)) {
      break;
    }
  }
  const bool meta = sum.device() == Device::kMeta;  // where positions are those of a plan
  CHECK(waiting_.emplace(std::pair(level, index), std::move(sum)).second || meta)
      << "node " << index << " at level " << level << " was added twice";
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
