// What the optimizer updates: this rank's shard of a parameter, and how it is stored.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/matrix_family.h"
#include "ops/parameter.h"
#include "optim/moment.h"
#include "parallel/mesh/placement.h"
#include "tensor/tensor.h"

namespace choir {

struct TargetPrecision {
  bool master = false;  // a BF16 value is rounded from an F32 one that is kept beside it
  MomentFormat m = MomentFormat::kF32, v = MomentFormat::kF32;
};

// Elements [begin, begin + n) of `slice` of the whole tensor, flattened.
struct OptimTarget {
  const Parameter* parameter = nullptr;  // for its name
  Placement placement;                   // of the whole
  Slice slice;                           // this rank's part of it
  int64_t begin = 0;
  Tensor value;  // flat [n]: F32, F64 (tests) or BF16
  Tensor grad;   // flat [n]: F32, or F64 for a value in F64
  TargetPrecision precision;
  Matrices matrices;   // in the whole tensor; for rules that look at them
  AxisSet shard_axes;  // over which ZeRO has cut the slice by placement.cut; none: not

  bool matrix() const { return placement.shape.rank() > 1; }
  // What the update is computed in.
  DType computing() const { return value.dtype() == DType::kF64 ? DType::kF64 : DType::kF32; }
};

// Whole parameters, on one rank.
std::vector<OptimTarget> WholeTargets(const std::vector<Parameter*>& parameters,
                                      const TargetPrecision& precision = {});

// The value of a target as the update sees it: in F32 whatever it is stored in.
//   F32, F64         as it is
//   BF16, master     the master, in F32; the value is its nearest
//   BF16, no master  the value; an update is computed in F32 and rounded stochastically, to one of
//                    its neighbours with the exact value as the mean (Zamirai et al. 2020)
class StoredValue {
 public:
  // Refers to target.value. A master starts as the value is then.
  explicit StoredValue(const OptimTarget& target);

  template <class T>
  T* Direct() const {  // null where Load and Store are needed
    return exact_.defined() ? exact_.data<T>() : nullptr;
  }
  void Load(const ElementRun& run, float* values) const;
  // Rounds with `random` at run.global, or, if it is null, to nearest.
  void Store(const ElementRun& run, const float* values, const CounterRandom* random) const;
  // After elements of Direct() have changed: the value follows its master.
  void Follow(const ElementRun& run) const;

  // All elements, exact, in F32 (F64): a view, or a copy of a value without master.
  Tensor Read() const;
  void Write(const Tensor& values) const;
  int64_t master_bytes() const {
    return rounded_.defined() && exact_.defined() ? exact_.bytes() : 0;
  }

 private:
  Tensor exact_;    // F32 or F64: the value itself, or its master
  Tensor rounded_;  // BF16
};

}  // namespace choir
