// What an op needs of the ranks that hold the other parts of its input: ops know no communicators.
#pragma once

#include "tensor/tensor.h"

namespace choir {

// All members call the same methods in the same order. Blocking, in place.
class RankGroup {
 public:
  virtual ~RankGroup() = default;
  virtual int size() const = 0;
  virtual void Max(const Tensor& x) = 0;
  // In the order of the group's size alone; in invariant mode a balanced binary tree over the
  // members.
  virtual void Sum(const Tensor& x) = 0;
};

}  // namespace choir
