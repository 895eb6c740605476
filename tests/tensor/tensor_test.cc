#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace choir {
namespace {

Tensor Counting(const Shape& shape) {
  std::vector<float> values(static_cast<size_t>(shape.NumElements()));
  std::iota(values.begin(), values.end(), 0.0f);
  return Tensor::From<float>(shape, std::span<const float>(values));
}

TEST(Tensor, MakesZerosAndCopiesOfValues) {
  EXPECT_FALSE(Tensor().defined());
  const Tensor zeros = Tensor::Zeros({3, 5}, {DType::kF64});
  EXPECT_EQ(zeros.bytes(), 3 * 5 * 8);
  for (double x : zeros.span<double>()) EXPECT_EQ(x, 0);
  const Tensor t = Counting({2, 3});
  EXPECT_EQ(t.dtype(), DType::kF32);
  EXPECT_EQ(t.shape(), Shape({2, 3}));
  EXPECT_EQ(t.data<float>()[5], 5);
  t.Zero();
  EXPECT_EQ(t.data<float>()[5], 0);
}

TEST(Tensor, ViewsShareStorage) {
  const Tensor t = Counting({4, 3});
  const Tensor rows = t.Rows(1, 2);
  EXPECT_EQ(rows.shape(), Shape({2, 3}));
  EXPECT_EQ(rows.data<float>(), t.data<float>() + 3);
  const Tensor inner = rows.Reshape({6}).Rows(4, 2);  // offsets add up
  EXPECT_EQ(inner.data<float>()[0], 7);
  inner.data<float>()[0] = -1;
  EXPECT_EQ(t.data<float>()[7], -1);
  EXPECT_TRUE(inner.SharesStorageWith(t));
  rows.Zero();  // only the view
  EXPECT_EQ(t.data<float>()[2], 2);
  EXPECT_EQ(t.data<float>()[3], 0);
  EXPECT_EQ(t.data<float>()[8], 0);
  EXPECT_EQ(t.data<float>()[9], 9);
  EXPECT_EQ(t.Rows(4, 0).NumElements(), 0);
}

TEST(Tensor, UniqueCountsHolders) {
  Tensor t = Counting({4});
  EXPECT_TRUE(t.Unique());
  {
    const Tensor view = t.Rows(0, 1);
    EXPECT_FALSE(t.Unique());
    EXPECT_FALSE(view.Unique());
  }
  EXPECT_TRUE(t.Unique());
}

TEST(Tensor, CloneAndCopyFrom) {
  const Tensor t = Counting({4, 3});
  const Tensor copy = t.Rows(2, 2).Clone(MemoryCategory::kOptimizer);
  EXPECT_FALSE(copy.SharesStorageWith(t));
  EXPECT_EQ(copy.category(), MemoryCategory::kOptimizer);
  EXPECT_EQ(t.Clone().category(), t.category());
  EXPECT_EQ(copy.data<float>()[0], 6);
  t.Rows(0, 2).CopyFrom(copy);
  EXPECT_EQ(t.data<float>()[5], 11);
  EXPECT_EQ(t.data<float>()[6], 6);
}

TEST(Tensor, MetaHasShapesOnly) {
  const Tensor t = Tensor::Zeros({1 << 20, 1 << 20}, {DType::kF32, Device::kMeta});
  EXPECT_EQ(t.bytes(), int64_t{1} << 42);
  EXPECT_EQ(t.raw(), nullptr);
  const Tensor rows = t.Rows(5, 2).Reshape({2 << 20}).Clone();
  EXPECT_EQ(rows.device(), Device::kMeta);
  EXPECT_EQ(rows.shape(), Shape({2 << 20}));
}

TEST(Tensor, EmptyTensorsHaveNoMemory) {
  const Tensor t = Tensor::Zeros({0, 4}, {});
  EXPECT_EQ(t.raw(), nullptr);
  EXPECT_EQ(t.Rows(0, 0).shape(), Shape({0, 4}));
  EXPECT_EQ(t.Clone().NumElements(), 0);
}

TEST(TensorDeathTest, WrongUseIsNamed) {
  const Tensor t = Counting({4, 3});
  EXPECT_DEATH(t.data<double>(), "f32 vs f64");
  EXPECT_DEATH(t.Rows(3, 2), "3 \\+ 2 of \\[4, 3\\]");
  EXPECT_DEATH(t.Rows(-1, 1), "-1 \\+ 1");
  EXPECT_DEATH(t.Reshape({5}), "\\[4, 3\\] as \\[5\\]");
  EXPECT_DEATH(t.CopyFrom(Counting({3, 4})), "CHECK failed");
  EXPECT_DEATH(t.CopyFrom(Tensor::Zeros({4, 3}, {DType::kF64})), "f32 vs f64");
  EXPECT_DEATH(Tensor().data<float>(), "defined");
  EXPECT_DEATH(Tensor::Empty({2}, {DType::kF32, Device::kMeta}).data<float>(), "meta");
}

}  // namespace
}  // namespace choir
