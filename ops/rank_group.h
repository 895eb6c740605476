// The other ranks that hold parts of what an op works on, as the op sees them.
#pragma once

#include "tensor/tensor.h"

namespace choir {

// Ops are given a pointer, null when this rank has everything. All members make the same calls in
// the same order with the same shapes (f32 or f64). Both calls block, work in place and leave the
// same bits on every member. On meta tensors nothing is exchanged.
class RankGroup {
 public:
  virtual ~RankGroup() = default;
  virtual int size() const = 0;
  // x = the largest of the members' elements.
  virtual void Max(const Tensor& x) = 0;
  // x = the sum of the members' elements: a balanced binary tree over the members in their order.
  virtual void Sum(const Tensor& x) = 0;
};

}  // namespace choir
