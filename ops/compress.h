// Results kept in fewer bits between forward and backward.
//
// bf16: each element rounded by itself. 8-bit formats: each row (dim 0; a vector is one row) times
// the power of two that brings its largest finite magnitude into the upper half of the format's
// range, then rounded; the factor is kept beside the codes (4 bytes a row). To nearest, ties to
// even; NaN and infinities come back as NaN or infinity.
#pragma once

#include <memory>

#include "tensor/number_format.h"
#include "tensor/tensor.h"

namespace choir {

struct CompressedTensor {
  NumberFormat format = NumberFormat::kBF16;
  Shape shape;
  std::shared_ptr<Storage> codes;  // then, for 8 bits, one float a row

  bool defined() const { return codes != nullptr; }
};

// `x` is F32, `format` bf16, e4m3 or e5m2. Bytes: of activations.
CompressedTensor Compress(const Tensor& x, NumberFormat format);
// F32.
Tensor Expand(const CompressedTensor& x);

// The most that Expand(Compress) changes `value` by in a row whose largest magnitude is `largest`:
// a relative error of one rounding, or, of what is subnormal in the format, half a step.
double CompressionBound(NumberFormat format, double value, double largest);

}  // namespace choir
