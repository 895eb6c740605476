// A moment of the optimizer, one number for each element of a shard, in one of several formats.
#pragma once

#include <cstdint>

#include "base/random.h"
#include "optim/run_grid.h"
#include "tensor/tensor.h"

namespace choir {

//   kF32   as computed (F64 for parameters in F64)
//   kBF16  rounded stochastically: to nearest, a second moment with 1 - beta2 below 2^-8 would
//          never decay
//   kInt8  a code of 8 bits and one F32 scale for each block (optim/moment_code.h)
enum class MomentFormat : uint8_t { kF32, kBF16, kInt8 };

// What a moment may be: kSigned any number, kSquare none below zero (its root is what is coded).
enum class MomentKind : uint8_t { kSigned, kSquare };

class Moment {
 public:
  // None.
  Moment() = default;
  // Zeros. `like`: the computing dtype (F32 or F64, the latter with kF32 only) and the device.
  Moment(MomentFormat format, MomentKind kind, const RunGrid& grid, const TensorOptions& like);

  bool defined() const { return data_.defined(); }
  // Where the moment is stored as it is computed with; null for the other formats.
  template <class T>
  T* Direct() const {
    return format_ == MomentFormat::kF32 ? data_.data<T>() : nullptr;
  }
  // Elements of one run (a block, with kInt8), from and to `values` [run.count]. Stores round
  // stochastically, with `random` at run.global.
  void Load(const ElementRun& run, float* values) const;
  void Store(const ElementRun& run, const float* values, const CounterRandom& random) const;

  // All elements, exact, flat in F32 (F64): a view of kF32, else a copy.
  Tensor Read(const RunGrid& grid) const;
  // The inverse: rounds to nearest, so that what Read gave becomes the same codes.
  void Write(const RunGrid& grid, const Tensor& values) const;

  int64_t bytes() const;

 private:
  void StoreNearest(const ElementRun& run, const float* values) const;

  MomentFormat format_ = MomentFormat::kF32;
  MomentKind kind_ = MomentKind::kSigned;
  Tensor data_;    // flat; kInt8: codes, four to an I32
  Tensor scales_;  // kInt8: one of each block
};

}  // namespace choir
