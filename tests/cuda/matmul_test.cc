#include "ops/matmul.h"

#include <limits>
#include <string>

#include "ops/gemm.h"
#include "ops/gemm_cuda.h"
#include "tests/cuda/device_arrays.h"

namespace choir {
namespace {

Transpose Flag(bool transpose) { return transpose ? Transpose::kYes : Transpose::kNo; }

struct Product {
  int64_t m, n, k;
  bool transpose_a, transpose_b;
  double beta;
};

std::string Describe(const Product& p) {
  return std::to_string(p.m) + " x " + std::to_string(p.n) + " x " + std::to_string(p.k) +
         (p.transpose_a ? " T" : " N") + (p.transpose_b ? "T" : "N") + " beta " +
         std::to_string(p.beta);
}

void CheckMatmul(const Product& p) {
  SCOPED_TRACE(Describe(p));
  const Tensor a = RandomTensor(p.transpose_a ? Shape{p.k, p.m} : Shape{p.m, p.k}, "a");
  const Tensor b = RandomTensor(p.transpose_b ? Shape{p.n, p.k} : Shape{p.k, p.n}, "b");
  const Tensor c = RandomTensor({p.m, p.n}, "c");
  auto multiply = [&p](const Tensor& c, const Tensor& a, const Tensor& b) {
    MatmulInto(c, a, Flag(p.transpose_a), b, Flag(p.transpose_b), p.beta);
  };
  const Tensor got = OnCuda(c);
  multiply(got, OnCuda(a), OnCuda(b));
  const Tensor twin = Widened(c), magnitudes = Absolute(twin);
  multiply(twin, Widened(a), Widened(b));
  multiply(magnitudes, Absolute(Widened(a)), Absolute(Widened(b)));
  ExpectNear(OnCpu(got), twin, magnitudes, p.k);
}

TEST_F(CudaTest, MatmulIntoWithAllTransposes) {
  struct Size {
    int64_t m, n, k;
  };
  for (Size size : {Size{1, 1, 1},
                    {7, 5, 3},
                    {1, 33, 17},
                    {40, 1, 9},
                    {64, 128, 32},
                    {257, 129, 300},
                    {16, 24, 4096}}) {
    for (bool ta : {false, true}) {
      for (bool tb : {false, true}) {
        // Powers of two: exact as floats, so that the twin has the same factor.
        for (double beta : {0.0, 1.0, -0.5}) CheckMatmul({size.m, size.n, size.k, ta, tb, beta});
      }
    }
  }
}

TEST_F(CudaTest, BetaZeroNeverReadsTheResult) {
  for (int64_t k : {0, 4}) {
    const Tensor c = Tensor::Empty({3, 5}, {});
    for (float& x : c.span<float>()) x = std::numeric_limits<float>::quiet_NaN();
    const Tensor there = OnCuda(c);
    MatmulInto(there, OnCuda(RandomTensor({3, k}, "a")), Transpose::kNo,
               OnCuda(RandomTensor({k, 5}, "b")), Transpose::kNo, 0.0);
    for (float x : OnCpu(there).span<float>()) {
      EXPECT_TRUE(k == 0 ? x == 0.0f : std::isfinite(x)) << x;
    }
  }
}

TEST_F(CudaTest, ProductOverNothingKeepsBetaTimesTheResult) {
  const Tensor c = RandomTensor({3, 5}, "c");
  const Tensor there = OnCuda(c);
  MatmulInto(there, OnCuda(Tensor::Empty({3, 0}, {})), Transpose::kNo,
             OnCuda(Tensor::Empty({0, 5}, {})), Transpose::kNo, -0.5);
  const Tensor back = OnCpu(there);
  for (int64_t i = 0; i < 15; ++i) EXPECT_EQ(back.data<float>()[i], -0.5f * c.data<float>()[i]);
}

// Blocks inside wider matrices, as the CPU's tiles are; what lies around the result stays.
TEST_F(CudaTest, RowsFurtherApartThanTheyAreLong) {
  constexpr int64_t kM = 9, kN = 6, kK = 7, kWidth = 20;
  for (bool ta : {false, true}) {
    for (bool tb : {false, true}) {
      SCOPED_TRACE(Describe({kM, kN, kK, ta, tb, 2.0}));
      const Tensor a = RandomTensor({kWidth, kWidth}, "a"), b = RandomTensor({kWidth, 15}, "b");
      const Tensor c = RandomTensor({kM, 11}, "c");
      const Tensor a_cuda = OnCuda(a), b_cuda = OnCuda(b), c_cuda = OnCuda(c);
      CudaGemm({ta, tb, kM, kN, kK, 0.5f, a_cuda.data<float>(), kWidth, b_cuda.data<float>(), 15,
                2.0f, c_cuda.data<float>() + 3, 11});
      auto multiply = [&](const Tensor& c, const Tensor& a, const Tensor& b) {
        Gemm(GemmArgs<double>{Flag(ta), Flag(tb), kM, kN, kK, 0.5, a.data<double>(), kWidth,
                              b.data<double>(), 15, 2.0, c.data<double>() + 3, 11});
      };
      const Tensor twin = Widened(c), magnitudes = Absolute(twin);
      multiply(twin, Widened(a), Widened(b));
      multiply(magnitudes, Absolute(Widened(a)), Absolute(Widened(b)));
      const Tensor got = OnCpu(c_cuda);
      ExpectNear(got, twin, magnitudes, kK);
      for (int64_t i = 0; i < c.NumElements(); ++i) {
        if (i % 11 < 3 || i % 11 >= 3 + kN) {
          ASSERT_EQ(got.data<float>()[i], c.data<float>()[i]) << i;
        }
      }
    }
  }
}

TEST_F(CudaTest, MatmulGivesTheSameBitsEveryTime) {
  const Tensor a = OnCuda(RandomTensor({130, 2000}, "a"));
  const Tensor b = OnCuda(RandomTensor({70, 2000}, "b"));
  Tensor first;
  for (int i = 0; i < 5; ++i) {
    const Tensor c = Tensor::Zeros({130, 70}, a.options());
    MatmulInto(c, a, Transpose::kNo, b, Transpose::kYes, 0.0);
    const Tensor back = OnCpu(c);
    if (i == 0) first = back;
    for (int64_t j = 0; j < c.NumElements(); ++j) {
      ASSERT_EQ(back.data<float>()[j], first.data<float>()[j]);
    }
  }
}

struct LinearResult {
  Tensor y, dx, dw;
};

// y = x w^T + x w^T, so that both gradients are sums of two contributions.
LinearResult TiedLinear(const Tensor& x, const Tensor& value, const Tensor& dy) {
  Parameter w;
  w.name = "w";
  w.value = value;
  w.grad = Tensor::Zeros(value.shape(), value.options());
  Tape tape;
  Var input = tape.Input(x, true);
  Var y = Add(tape, Linear(tape, input, w), Linear(tape, input, w));
  LinearResult result{.y = y.tensor(), .dx = {}, .dw = w.grad};
  tape.RunBackward(y, dy);
  result.dx = input.grad()->grad;
  return result;
}

TEST_F(CudaTest, LinearForwardAndBackwardOnTheTape) {
  constexpr int64_t kRows = 19, kIn = 12, kOut = 23;
  const Tensor x = RandomTensor({kRows, kIn}, "x"), w = RandomTensor({kOut, kIn}, "w");
  const Tensor dy = RandomTensor({kRows, kOut}, "dy");
  const LinearResult got = TiedLinear(OnCuda(x), OnCuda(w), OnCuda(dy));
  const LinearResult twin = TiedLinear(Widened(x), Widened(w), Widened(dy));
  const LinearResult magnitudes =
      TiedLinear(Absolute(Widened(x)), Absolute(Widened(w)), Absolute(Widened(dy)));
  ExpectNear(OnCpu(got.y), twin.y, magnitudes.y, 2 * kIn);
  ExpectNear(OnCpu(got.dx), twin.dx, magnitudes.dx, 2 * kOut);
  ExpectNear(OnCpu(got.dw), twin.dw, magnitudes.dw, 2 * kRows);
}

}  // namespace
}  // namespace choir
