// What a rank updates of a parameter whose rule needs whole matrices (Muon, factored moments).
//
// ZeRO leaves them whole: a dense parameter is one shard's (ShardCut::Owner), experts are shared
// out between themselves (ShardCut::Rows(1)); matrix_plan.h decides. What is left is the axes that
// split a matrix, tensor or expert_tensor: ranks along them have a part each of the same matrices,
// and bring them together here.
#pragma once

#include "optim/target.h"
#include "parallel/place.h"

namespace choir {

class MatrixUnit {
 public:
  // CHECKs that the shard holds whole matrices, as far as ZeRO cuts. `place` outlives this.
  MatrixUnit(const OptimTarget& target, const Place& place);

  // False where the matrices are other shards'. The ranks that split a matrix agree about it, even
  // those whose part has no elements.
  bool mine() const { return mine_; }
  // ZeRO shares the matrices of such parameters out over several ranks.
  bool sharded() const { return sharded_; }
  // The whole of the parameter, or those of its experts that are here.
  const Shape& shape() const { return shape_; }
  // True where this rank has all of it.
  bool alone() const { return axes_.empty(); }

  // All of the unit from the ranks' parts, each flat. A view of `part` where this rank is alone,
  // else in new storage. Blocks; the ranks that split the unit call it in the same order.
  Tensor Gather(const Tensor& part) const;
  // This rank's part of the unit, into `part`.
  void Take(const Tensor& unit, const Tensor& part) const;

 private:
  Slice PartOf(int rank) const;

  Placement placement_;
  const Place* place_;
  AxisSet axes_;  // that split a matrix
  Shape shape_;
  bool mine_ = true, sharded_ = false, batched_ = false;
};

// Whether every index of the first dim has matrices of its own: experts.
bool SplitsByFirstDim(const Matrices& matrices);

}  // namespace choir
