// Element-wise ops and reductions to a scalar.
#pragma once

#include "base/exact_sum.h"
#include "ops/tape.h"
#include "tensor/tensor.h"

namespace choir {

// to += from; same shape.
void AddInto(const Tensor& to, const Tensor& from);
// to += scale * from.
void AddScaledInto(const Tensor& to, const Tensor& from, double scale);
// x *= scale.
void ScaleInPlace(const Tensor& x, double scale);
// Tensor::CopyFrom, Zero and Clone, told as work (ops/work.h).
void CopyInto(const Tensor& to, const Tensor& from);
void ZeroInPlace(const Tensor& x);
Tensor CopyOf(const Tensor& x, MemoryCategory category);
// a + b in new storage.
Tensor Sum(const Tensor& a, const Tensor& b);
// Sum of squares, accumulated in double over fixed blocks.
double SumOfSquares(const Tensor& x);
// The same without any rounding, so that it can be split over ranks in any way (base/exact_sum.h);
// that of nothing on meta.
ExactSum ExactSumOfSquares(const Tensor& x);
// True if no element is NaN or infinite.
bool AllFinite(const Tensor& x);
// Copies between float dtypes (f64, f32, bf16, f16), rounding to nearest even.
void ConvertInto(const Tensor& to, const Tensor& from);
// Rounds F32 elements to what `format` (kBF16, kF16) can hold, to nearest even; overflow becomes
// infinity.
void RoundInPlace(const Tensor& x, DType format);
// Value of a one-element float tensor; 0 on meta.
double ScalarValue(const Tensor& x);
// A one-element tensor.
Tensor ScalarTensor(double value, const TensorOptions& options);

// y = a + b.
Var Add(Tape& tape, const Var& a, const Var& b);
// y = scale * x.
Var Scale(Tape& tape, const Var& x, double scale);

}  // namespace choir
