#include "parallel/mesh/shard_cut.h"

#include "base/check.h"
#include "ops/numerics.h"

namespace choir {

int64_t ShardBegin(const Shape& local, const ShardCut& cut, int64_t shards, int64_t s) {
  CHECK(s >= 0 && s <= shards) << s << " of " << shards;
  const int64_t n = local.NumElements();
  if (s == 0 || n == 0) return 0;
  if (s == shards) return n;
  switch (cut.kind) {
    case ShardCut::Kind::kElements:
      return PieceBegin(n, shards, s);
    case ShardCut::Kind::kRows: {
      CHECK(cut.dims <= local.rank()) << cut.dims << " of " << local;
      int64_t rows = 1;
      for (int d = 0; d < cut.dims; ++d) rows *= local.dim(d);
      return PieceBegin(rows, shards, s) * (n / rows);
    }
    case ShardCut::Kind::kOwner:
      CHECK(cut.owner < shards) << cut.owner << " of " << shards;
      return s <= cut.owner ? 0 : n;
  }
  CHECK(false) << "cut " << static_cast<int>(cut.kind);
  __builtin_unreachable();
}

std::vector<int64_t> ShardCounts(const Shape& local, const ShardCut& cut, int64_t shards) {
  std::vector<int64_t> counts;
  for (int64_t s = 0; s < shards; ++s) {
    counts.push_back(ShardBegin(local, cut, shards, s + 1) - ShardBegin(local, cut, shards, s));
  }
  return counts;
}

}  // namespace choir
