#include "ops/chain_product.h"

#include <gtest/gtest.h>

#include "tensor/tolerance.h"
#include "tests/ops/rank_threads.h"

namespace choir {
namespace {

constexpr int64_t kM = 5, kN = 19, kK = 37;

Tensor Transposed(const Tensor& a) {
  Tensor t = Tensor::Empty({a.dim(1), a.dim(0)}, {});
  for (int64_t i = 0; i < a.NumElements(); ++i) {
    t.data<float>()[i % a.dim(1) * a.dim(0) + i / a.dim(1)] = a.data<float>()[i];
  }
  return t;
}

// The chain of one element over [begin, end), from `start`.
float Chain(const Tensor& a, const Tensor& b, int64_t element, std::pair<int64_t, int64_t> range,
            float start = 0) {
  const int64_t i = element / kN, j = element % kN;
  for (int64_t k = range.first; k < range.second; ++k) {
    start = std::fma(a.data<float>()[i * kK + k], b.data<float>()[k * kN + j], start);
  }
  return start;
}

GemmArgs<float> Args(const Tensor& a, const Tensor& b, const Tensor& c) {
  return {.m = kM,
          .n = kN,
          .k = kK,
          .a = a.data<float>(),
          .lda = kK,
          .b = b.data<float>(),
          .ldb = kN,
          .c = c.data<float>(),
          .ldc = kN};
}

TEST(ChainProduct, IsOneChainForEachElement) {
  const Tensor a = RandomFloats({kM, kK}, "a"), b = RandomFloats({kK, kN}, "b");
  const Tensor at = Transposed(a), bt = Transposed(b);
  for (int transposes = 0; transposes < 4; ++transposes) {
    const Tensor c = RandomFloats({kM, kN}, "c"), before = c.Clone();
    GemmArgs<float> g = Args(a, b, c);
    if (transposes & 1) {
      g.transpose_a = Transpose::kYes;
      g.a = at.data<float>();
      g.lda = kM;
    }
    if (transposes & 2) {
      g.transpose_b = Transpose::kYes;
      g.b = bt.data<float>();
      g.ldb = kK;
    }
    for (float beta : {1.0f, 0.0f}) {
      c.CopyFrom(before);
      g.beta = beta;
      ChainProduct(g);
      for (int64_t i = 0; i < kM * kN; ++i) {
        ASSERT_EQ(c.data<float>()[i],
                  Chain(a, b, i, {0, kK}, beta == 0 ? 0 : before.data<float>()[i]))
            << i << " beta " << beta;
      }
    }
  }
}

TEST(ChainProduct, PiecesAreATree) {
  const Tensor a = RandomFloats({kM, kK}, "a"), b = RandomFloats({kK, kN}, "b");
  const Tensor c = RandomFloats({kM, kN}, "c"), one = Tensor::Empty({kM, kN}, {});
  const std::vector<int64_t> pieces = {0, 9, 9, 20, kK};  // one is empty
  ChainProduct(Args(a, b, c), pieces);
  ChainProduct(Args(a, b, one));
  int different = 0;
  for (int64_t i = 0; i < kM * kN; ++i) {
    const float left = Chain(a, b, i, {0, 9}) + 0.0f;
    const float right = Chain(a, b, i, {9, 20}) + Chain(a, b, i, {20, kK});
    ASSERT_EQ(c.data<float>()[i], left + right) << i;
    different += c.data<float>()[i] != one.data<float>()[i];
  }
  EXPECT_GT(different, 0);  // or else the order would not matter here
  ExpectWithin(c, one, 4 * ErrorBound(DType::kF32, kK));
}

TEST(TreeSum, AddsNeighboursFirst) {
  for (int64_t n : {1, 2, 3, 4, 8}) {
    std::vector<std::string> item;
    for (int64_t i = 0; i < n; ++i) item.push_back(std::to_string(i));
    TreeSum(n, [&](int64_t to, int64_t from) {
      std::string& a = item[static_cast<size_t>(to)];
      a = "(" + a + "+" + item[static_cast<size_t>(from)] + ")";
    });
    const std::map<int64_t, std::string> expected = {{1, "0"},
                                                     {2, "(0+1)"},
                                                     {3, "((0+1)+2)"},
                                                     {4, "((0+1)+(2+3))"},
                                                     {8, "(((0+1)+(2+3))+((4+5)+(6+7)))"}};
    EXPECT_EQ(item[0], expected.at(n));
  }
}

}  // namespace
}  // namespace choir
