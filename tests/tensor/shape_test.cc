#include "tensor/shape.h"

#include <gtest/gtest.h>

#include <sstream>
#include <vector>

namespace choir {
namespace {

TEST(Shape, ScalarAndDims) {
  const Shape scalar;
  EXPECT_EQ(scalar.rank(), 0);
  EXPECT_EQ(scalar.NumElements(), 1);
  EXPECT_EQ(scalar.ToString(), "[]");
  const Shape shape{2, 3, 5};
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape.dim(0), 2);
  EXPECT_EQ(shape.dim(-1), 5);
  EXPECT_EQ(shape.dim(-3), 2);
  EXPECT_EQ(shape.NumElements(), 30);
  EXPECT_EQ(Shape({4, 0, 7}).NumElements(), 0);
  std::ostringstream text;
  text << shape;
  EXPECT_EQ(text.str(), "[2, 3, 5]");
  EXPECT_EQ(Shape(shape.dims()), shape);
}

TEST(Shape, WithReplacesOneDim) {
  const Shape shape{2, 3, 5};
  EXPECT_EQ(shape.With(1, 7), Shape({2, 7, 5}));
  EXPECT_EQ(shape.With(-1, 0), Shape({2, 3, 0}));
  EXPECT_EQ(shape, Shape({2, 3, 5}));
}

TEST(Shape, Equality) {
  EXPECT_NE(Shape({2, 3}), Shape({3, 2}));
  EXPECT_NE(Shape({2}), Shape({2, 1}));
  EXPECT_NE(Shape(), Shape({0}));  // unused dims are zero, too
}

TEST(ShapeDeathTest, BrokenInvariantsNameTheShape) {
  const Shape shape{2, 3};
  EXPECT_DEATH(shape.dim(2), "dim 2 of \\[2, 3\\]");
  EXPECT_DEATH(shape.dim(-3), "dim -3 of \\[2, 3\\]");
  EXPECT_DEATH(shape.With(2, 1), "dim 2");
  EXPECT_DEATH(Shape({1, -1}), "d >= 0");
  EXPECT_DEATH(Shape({1, 1, 1, 1, 1, 1, 1}), "7 vs 6");
  const Shape huge{int64_t{1} << 32, int64_t{1} << 31};
  EXPECT_DEATH(huge.NumElements(), "CHECK failed");
}

}  // namespace
}  // namespace choir
