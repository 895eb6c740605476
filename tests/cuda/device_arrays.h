// Tensors for tests that compare the GPU with the CPU.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "base/random.h"
#include "ops/elementwise.h"
#include "tensor/cuda_device.h"
#include "tensor/tensor.h"
#include "tensor/tolerance.h"

namespace choir {

// Tests that need a GPU; a machine without one says so.
class CudaTest : public testing::Test {
 protected:
  void SetUp() override {
    if (CudaDeviceCount() == 0) GTEST_SKIP() << "no CUDA device on this machine";
  }
};

// Normal float32 values on the CPU.
inline Tensor RandomTensor(const Shape& shape, std::string_view stream) {
  Tensor t = Tensor::Empty(shape, {});
  const CounterRandom random(17, stream);
  for (int64_t i = 0; i < t.NumElements(); ++i) {
    t.data<float>()[i] = static_cast<float>(random.Normal(static_cast<uint64_t>(i)));
  }
  return t;
}

inline Tensor CopyTo(Device device, const Tensor& t) {
  Tensor copy = Tensor::Empty(t.shape(), {t.dtype(), device, t.category()});
  copy.CopyFrom(t);
  return copy;
}
inline Tensor OnCuda(const Tensor& t) { return CopyTo(Device::kCuda, t); }
inline Tensor OnCpu(const Tensor& t) { return CopyTo(Device::kCpu, t); }

// A float32 tensor of the CPU in float64, where the twin computes.
inline Tensor Widened(const Tensor& t) {
  Tensor wide = Tensor::Empty(t.shape(), {DType::kF64});
  ConvertInto(wide, t);
  return wide;
}

inline Tensor Absolute(const Tensor& t) {
  Tensor absolute = t.Clone();
  for (double& x : absolute.span<double>()) x = std::abs(x);
  return absolute;
}

// `got` (float32, CPU) against the float64 twin, for sums of `length` products; `magnitudes` has
// the sums of the products' absolute values.
inline void ExpectNear(const Tensor& got, const Tensor& twin, const Tensor& magnitudes,
                       int64_t length) {
  ASSERT_EQ(got.shape(), twin.shape());
  double largest = 0;
  for (double x : magnitudes.span<double>()) largest = std::max(largest, x);
  const double bound = ErrorBound(DType::kF32, length) * largest;
  for (int64_t i = 0; i < got.NumElements(); ++i) {
    // A NaN is not within any bound.
    ASSERT_LE(std::abs(static_cast<double>(got.data<float>()[i]) - twin.data<double>()[i]), bound)
        << "element " << i << " of " << got.shape();
  }
}

}  // namespace choir
