// Kernels of the summing collectives, over raw memory of any alignment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "parallel/comm/communicator.h"
#include "tensor/dtype.h"

namespace choir {

struct Reduction {
  ReduceOp op = ReduceOp::kSum;
  DType dtype = DType::kF32;  // f32, f64 or i32
};

// to = a + b (or the larger; NaN if one is) element by element; `to` may be a or b.
void Combine(const Reduction& reduction, std::byte* to, const std::byte* a, const std::byte* b,
             int64_t bytes);

// to = the members' parts combined as a balanced binary tree: (lo..hi) is (lo..mid) + (mid..hi)
// with mid - lo = PieceBegin(hi - lo, 2, 1). The parts are overwritten; `to` may be one of them.
void CombineTree(const Reduction& reduction, std::byte* to, std::span<std::byte* const> parts,
                 int64_t bytes);

// to = the parts combined one after another, beginning with part `first` and wrapping around: what
// a ring does.
void CombineRing(const Reduction& reduction, std::byte* to, std::span<std::byte* const> parts,
                 int first, int64_t bytes);

}  // namespace choir
