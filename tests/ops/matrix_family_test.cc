#include "ops/matrix_family.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace choir {
namespace {

Tensor Counting(const Shape& shape) {
  Tensor t = Tensor::Empty(shape, {});
  std::iota(t.data<float>(), t.data<float>() + t.NumElements(), 0.0F);
  return t;
}

std::vector<float> Gathered(const Tensor& t, const MatrixFamily& family, bool per_head = false) {
  std::vector<float> out(static_cast<size_t>(ShapeOf(family, t.shape(), per_head).NumElements()),
                         -1);
  GatherMatrices(t, family, per_head, out.data());
  return out;
}

// Gate and up of [F, 2, C]: each its own rows.
TEST(MatrixFamilyTest, InterleavedProjections) {
  const Tensor t = Counting({3, 2, 4});
  const MatrixFamily family{"rbc"};
  EXPECT_EQ(ShapeOf(family, t.shape(), false), (MatrixShape{2, 3, 4}));
  EXPECT_EQ(Gathered(t, family), (std::vector<float>{0, 1, 2, 3, 8,  9,  10, 11, 16, 17, 18, 19,  //
                                                     4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23}));
}

// Queries of [G, R + 2, D, C] = [2, 3, 2, 2] with R = 1: all heads one matrix, or each by itself.
TEST(MatrixFamilyTest, PartOfADimAndHeads) {
  const Tensor t = Counting({2, 3, 2, 2});
  const MatrixFamily queries{"hhrc", 1, 0, 1}, keys{"hrrc", 1, 1, 1};
  EXPECT_EQ(ShapeOf(queries, t.shape(), false), (MatrixShape{1, 4, 2}));
  EXPECT_EQ(ShapeOf(queries, t.shape(), true), (MatrixShape{2, 2, 2}));
  EXPECT_EQ(Gathered(t, queries), (std::vector<float>{0, 1, 2, 3, 12, 13, 14, 15}));
  EXPECT_EQ(Gathered(t, keys), (std::vector<float>{4, 5, 6, 7, 16, 17, 18, 19}));
}

// A batch dim inside, and columns that are not the last dim.
TEST(MatrixFamilyTest, AnyOrderOfRoles) {
  const Tensor t = Counting({2, 2, 3});
  EXPECT_EQ(Gathered(t, {"cbr"}), (std::vector<float>{0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11}));
}

TEST(MatrixFamilyThreadTest, ScatterUndoesGather) {
  const Tensor t = Counting({4, 5, 6, 40});
  Tensor back = Tensor::Zeros(t.shape(), {});
  for (const MatrixFamily& family : {MatrixFamily{"hhrc", 1, 0, 3}, MatrixFamily{"hrrc", 1, 3, 1},
                                     MatrixFamily{"rrrc", 1, 4, 1}}) {
    const std::vector<float> matrices = Gathered(t, family, /*per_head=*/true);
    ScatterMatrices(matrices.data(), family, /*per_head=*/true, back);
  }
  for (int64_t i = 0; i < t.NumElements(); ++i)
    ASSERT_EQ(back.data<float>()[i], t.data<float>()[i]);
}

}  // namespace
}  // namespace choir
