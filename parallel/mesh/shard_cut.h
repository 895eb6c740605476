// Where ZeRO cuts a rank's part of a tensor into shards.
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/shape.h"

namespace choir {

// A shard is a run of the flattened part; shards may be empty. An optimizer whose rule spans
// several elements (blocks of 8-bit moments, matrices of Muon) asks for a cut that keeps those
// together.
struct ShardCut {
  enum class Kind {
    kElements,  // evenly, anywhere
    kRows,      // evenly, only between elements of the first `dims` dims
    kOwner      // all of it is shard `owner`'s
  };
  Kind kind = Kind::kElements;
  int dims = 0;
  int owner = 0;

  static ShardCut Rows(int dims) { return {Kind::kRows, dims, 0}; }
  static ShardCut Owner(int owner) { return {Kind::kOwner, 0, owner}; }
  bool operator==(const ShardCut&) const = default;
};

// The first element of shard `s` of `shards`, of a part of shape `local`; s = shards: its elements.
int64_t ShardBegin(const Shape& local, const ShardCut& cut, int64_t shards, int64_t s);

// The elements of each shard.
std::vector<int64_t> ShardCounts(const Shape& local, const ShardCut& cut, int64_t shards);

}  // namespace choir
