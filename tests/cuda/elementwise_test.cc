#include "ops/elementwise.h"

#include "tests/cuda/device_arrays.h"

namespace choir {
namespace {

// to + scale * from on the GPU against float64 on the CPU.
void CheckAddScaled(const Tensor& to, const Tensor& from, double scale) {
  const Tensor got = OnCuda(to);
  AddScaledInto(got, OnCuda(from), scale);
  // The kernel is given the scale as a float.
  const double rounded = static_cast<float>(scale);
  const Tensor twin = Widened(to), magnitudes = Absolute(twin);
  AddScaledInto(twin, Widened(from), rounded);
  AddScaledInto(magnitudes, Absolute(Widened(from)), std::abs(rounded));
  ExpectNear(OnCpu(got), twin, magnitudes, 2);
}

TEST_F(CudaTest, AddIntoOfEverySizeAroundAVectorAndABlock) {
  for (int64_t n : {1, 2, 3, 4, 5, 7, 8, 255, 1023, 1024, 1025, 4099, (1 << 20) + 3}) {
    const Tensor to = RandomTensor({n}, "to"), from = RandomTensor({n}, "from");
    CheckAddScaled(to, from, 1.0);
    const Tensor got = OnCuda(to);
    AddInto(got, OnCuda(from));
    AddInto(to, from);
    // One rounding of one sum: the same on both devices.
    const Tensor back = OnCpu(got);
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(back.data<float>()[i], to.data<float>()[i]) << i;
  }
}

TEST_F(CudaTest, AddScaledIntoScales) {
  for (double scale : {-0.37, 0.0, 1e6}) {
    CheckAddScaled(RandomTensor({129, 33}, "to"), RandomTensor({129, 33}, "from"), scale);
  }
}

// More elements than one pass of the grid: every thread comes round again.
TEST_F(CudaTest, AddIntoBeyondOneGrid) {
  const Tensor ones = Tensor::Empty({(int64_t{1} << 24) + 5}, {});
  for (float& x : ones.span<float>()) x = 1;
  // Rows are one element, so this view starts four bytes after a vector: scalar accesses.
  const Tensor to = OnCuda(ones), from = OnCuda(ones);
  const int64_t n = to.NumElements() - 1;
  AddInto(to.Rows(1, n), from.Rows(1, n));
  const Tensor back = OnCpu(to);
  ASSERT_EQ(back.data<float>()[0], 1.0f);
  for (int64_t i = 1; i <= n; ++i) ASSERT_EQ(back.data<float>()[i], 2.0f) << i;
}

TEST_F(CudaTest, UnalignedViewsAddTheSameBitsAndTouchNothingElse) {
  constexpr int64_t kRows = 50, kColumns = 3;  // 12 bytes a row: most rows are unaligned
  const Tensor to = RandomTensor({kRows, kColumns}, "to");
  const Tensor from = RandomTensor({kRows, kColumns}, "from");
  const Tensor whole = OnCuda(to), source = OnCuda(from);
  AddScaledInto(whole, source, 0.3);
  const Tensor aligned = OnCpu(whole);
  for (int64_t begin : {1, 2, 3, 4}) {
    constexpr int64_t kCount = 40;
    const Tensor part = OnCuda(to);
    AddScaledInto(part.Rows(begin, kCount), source.Rows(begin, kCount), 0.3);
    const Tensor back = OnCpu(part);
    for (int64_t i = 0; i < back.NumElements(); ++i) {
      const bool inside = i >= begin * kColumns && i < (begin + kCount) * kColumns;
      ASSERT_EQ(back.data<float>()[i], (inside ? aligned : to).data<float>()[i]) << i;
    }
  }
}

TEST_F(CudaTest, AddIntoItselfDoubles) {
  const Tensor x = RandomTensor({1001}, "x");
  const Tensor there = OnCuda(x);
  AddInto(there, there);
  const Tensor back = OnCpu(there);
  for (int64_t i = 0; i < 1001; ++i) ASSERT_EQ(back.data<float>()[i], 2 * x.data<float>()[i]);
}

TEST_F(CudaTest, SumLeavesItsArgumentsAlone) {
  const Tensor a = RandomTensor({37}, "a"), b = RandomTensor({37}, "b");
  const Tensor there = OnCuda(a);
  const Tensor sum = OnCpu(Sum(there, OnCuda(b))), same = OnCpu(there);
  for (int64_t i = 0; i < 37; ++i) {
    EXPECT_EQ(sum.data<float>()[i], a.data<float>()[i] + b.data<float>()[i]);
    EXPECT_EQ(same.data<float>()[i], a.data<float>()[i]);
  }
}

}  // namespace
}  // namespace choir
