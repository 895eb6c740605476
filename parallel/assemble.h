// Whole tensors from the parts that ranks hold.
#pragma once

#include "parallel/mesh/placement.h"
#include "parallel/place.h"
#include "tensor/tensor.h"

namespace choir {

// How the parts of one tensor lie: on the ranks of pipeline coordinate `pipe` by placement.layout,
// and each rank's part, flattened, cut once more over `shard_axes` (ZeRO; may be empty) by
// placement.cut.
struct Spreading {
  Placement placement;
  int pipe = 0;
  AxisSet shard_axes;
};

// Elements [begin, end) of a rank's flat part that it holds.
struct FlatRange {
  int64_t begin = 0, end = 0;
};
FlatRange ShardRange(const Spreading& spreading, const Mesh& mesh, int rank);

// Elements [range) of `slice`, flattened, of the tensor `whole`: into it from `part`, and back.
void PutPart(const Tensor& whole, const Slice& slice, FlatRange range, const Tensor& part);
void TakePart(const Tensor& whole, const Slice& slice, FlatRange range, const Tensor& part);

// On world rank 0 the whole tensor; undefined elsewhere. `mine` is this rank's flat shard,
// undefined where the tensor is not on this stage. All ranks call it, in one order. Blocks.
Tensor Assemble(const Place& place, const Spreading& spreading, const Tensor& mine, DType dtype);

// The other way, alone: this rank's shard of a whole tensor, into `mine`.
void CopyShard(const Place& place, const Spreading& spreading, const Tensor& whole,
               const Tensor& mine);

}  // namespace choir
