#include "ops/compress.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "ops/launch.h"
#include "ops/parallel_for.h"
#include "tensor/cast.h"
#include "tensor/format_cast.h"

namespace choir {
namespace {

bool HasScales(NumberFormat format) { return BitsOf(format).bits() == 8; }

int64_t RowsOf(const Shape& shape) { return shape.rank() < 2 ? 1 : shape.dim(0); }

// The codes and the factors behind them.
struct Parts {
  int64_t rows, width;
  uint8_t* codes;
  float* scales;
};

int64_t CodeBytes(NumberFormat format, const Shape& shape) {
  return RoundedBytes(shape.NumElements() * BitsOf(format).bits() / 8);
}

Parts PartsOf(const CompressedTensor& x) {
  const int64_t rows = RowsOf(x.shape);
  auto* const bytes = static_cast<uint8_t*>(x.codes->data());
  return {rows, rows == 0 ? 0 : x.shape.NumElements() / rows, bytes,
          HasScales(x.format) ? reinterpret_cast<float*>(bytes + CodeBytes(x.format, x.shape))
                              : nullptr};
}

// A power of two, so that scaling rounds nothing but subnormals.
float ScaleOf(NumberFormat format, const float* row, int64_t n) {
  float largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float magnitude = std::abs(row[i]);
    if (std::isfinite(magnitude)) largest = std::max(largest, magnitude);
  }
  if (largest == 0) return 1;
  const double limit = LargestValue(format);
  int exponent = std::ilogb(limit) - std::ilogb(largest);
  if (std::ldexp(static_cast<double>(largest), exponent) > limit) --exponent;
  return std::ldexp(1.0f, std::clamp(exponent, -126, 126));
}

// Calls body(first row, rows) on all threads.
template <class Body>
void ForRows(const Parts& p, Body&& body) {
  const int64_t grain = std::max<int64_t>(1, kElementGrain / std::max<int64_t>(1, p.width));
  ParallelRanges(p.rows, grain, [&](int64_t begin, int64_t end) { body(begin, end - begin); });
}

void EncodeRow(NumberFormat format, const float* from, const Parts& p, int64_t row) {
  const float scale = ScaleOf(format, from, p.width);
  std::vector<float> scaled(from, from + p.width);
  for (float& v : scaled) v *= scale;
  Encode(format, scaled.data(), p.codes + row * p.width, p.width);
  p.scales[row] = scale;
}

void DecodeRow(NumberFormat format, const Parts& p, int64_t row, float* to) {
  Decode(format, p.codes + row * p.width, to, p.width);
  for (int64_t i = 0; i < p.width; ++i) to[i] /= p.scales[row];
}

Work WorkOf(const char* name, const CompressedTensor& x, int64_t wide) {
  return {.name = name, .bytes = static_cast<double>(x.codes->bytes() + wide)};
}

}  // namespace

CompressedTensor Compress(const Tensor& x, NumberFormat format) {
  CHECK(x.dtype() == DType::kF32) << "only F32 is compressed, not " << x.dtype();
  CompressedTensor to{format, x.shape(), nullptr};
  const int64_t scales =
      HasScales(format) ? RowsOf(x.shape()) * static_cast<int64_t>(sizeof(float)) : 0;
  to.codes = std::make_shared<Storage>(CodeBytes(format, x.shape()) + scales, x.device(),
                                       MemoryCategory::kActivations);
  Launch(x.device(), WorkOf("compress", to, x.bytes()), [&] {
    const Parts p = PartsOf(to);
    const float* from = x.data<float>();
    ForRows(p, [&](int64_t first, int64_t count) {
      if (!HasScales(format)) {
        auto* codes = reinterpret_cast<BFloat16*>(p.codes) + first * p.width;
        return RoundToBFloat16(from + first * p.width, codes, count * p.width);
      }
      for (int64_t r = first; r < first + count; ++r) EncodeRow(format, from + r * p.width, p, r);
    });
  });
  return to;
}

Tensor Expand(const CompressedTensor& x) {
  Tensor to = Tensor::Empty(x.shape, {DType::kF32, x.codes->device()});
  Launch(to.device(), WorkOf("expand", x, to.bytes()), [&] {
    const Parts p = PartsOf(x);
    float* values = to.data<float>();
    ForRows(p, [&](int64_t first, int64_t count) {
      if (!HasScales(x.format)) {
        const auto* codes = reinterpret_cast<const BFloat16*>(p.codes) + first * p.width;
        return ToFloats(codes, values + first * p.width, count * p.width);
      }
      for (int64_t r = first; r < first + count; ++r)
        DecodeRow(x.format, p, r, values + r * p.width);
    });
  });
  return to;
}

double CompressionBound(NumberFormat format, double value, double largest) {
  const double relative = UnitRoundoff(format) * std::abs(value);
  if (!HasScales(format)) return std::max(relative, SmallestValue(format) / 2);
  // The factor is more than half of what would bring `largest` to the limit, and at most 2^126.
  const double step =
      SmallestValue(format) * std::max(2 * largest / LargestValue(format), std::ldexp(1.0, -126));
  return std::max(relative, step / 2);
}

}  // namespace choir
