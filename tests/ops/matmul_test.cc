#include "ops/matmul.h"

#include <gtest/gtest.h>

#include "ops/elementwise.h"
#include "ops/gemm.h"
#include "tests/ops/op_case.h"

namespace choir {
namespace {

OpCase LinearCase() {
  return {"linear",
          {{{5, 7}}, {.shape = {4, 7}, .parameter = true}},
          [](Tape& tape, OpArguments& in) {
            return std::vector<Var>{Linear(tape, in.var(0), in.parameter(1))};
          },
          7};
}

OpCase ManyDimsCase() {
  return {"linear_3d",
          {{{3, 6}}, {.shape = {2, 3, 6}, .parameter = true}},
          [](Tape& tape, OpArguments& in) {
            return std::vector<Var>{Linear(tape, in.var(0), in.parameter(1))};
          },
          6};
}

OpCase TiedCase() {
  return {"linear_tied",
          {{{3, 5}}, {.shape = {5, 5}, .parameter = true}},
          [](Tape& tape, OpArguments& in) {
            Var y = Linear(tape, in.var(0), in.parameter(1));
            return std::vector<Var>{Linear(tape, y, in.parameter(1))};
          },
          25};
}

SumPieces Pieces(int64_t n, int64_t pieces) {
  std::vector<int64_t> bounds;
  for (int64_t i = 0; i <= pieces; ++i) bounds.push_back(PieceBegin(n, pieces, i));
  return std::make_shared<const std::vector<int64_t>>(std::move(bounds));
}

OpCase PiecesCase() {
  return {"linear_pieces",
          {{{11, 19}}, {.shape = {3, 7, 19}, .parameter = true}},
          [](Tape& tape, OpArguments& in) {
            const LinearOptions options{"pieces", Pieces(19, 8), Pieces(21, 4)};
            return std::vector<Var>{Linear(tape, in.var(0), in.parameter(1), options)};
          },
          21};
}

TEST(Linear, OpCase) { CheckOpCase(LinearCase()); }
TEST(Linear, WeightsOfManyDims) { CheckOpCase(ManyDimsCase()); }
TEST(Linear, TiedWeightUsedTwice) { CheckOpCase(TiedCase()); }
TEST(Linear, PiecesChangeNothingInFastMode) { CheckOpCase(PiecesCase()); }

TEST(LinearInvariant, OpCase) { CheckInvariantOpCase(LinearCase(), 5); }
TEST(LinearInvariant, WeightsOfManyDims) { CheckInvariantOpCase(ManyDimsCase(), 3); }
TEST(LinearInvariant, TiedWeightUsedTwice) { CheckInvariantOpCase(TiedCase(), 0); }
TEST(LinearInvariant, Pieces) { CheckInvariantOpCase(PiecesCase(), 11); }

TEST(Add, OpCase) {
  CheckOpCase({"add", {{{4, 3}}, {{4, 3}}}, [](Tape& tape, OpArguments& in) {
                 return std::vector<Var>{Add(tape, in.var(0), in.var(1))};
               }});
}

TEST(Scale, OpCase) {
  CheckOpCase({"scale", {{{4, 3}}}, [](Tape& tape, OpArguments& in) {
                 return std::vector<Var>{Scale(tape, in.var(0), -1.5)};
               }});
}

// The triple loop that Gemm must agree with.
TEST(Gemm, EveryTransposeAndEdgeAgainstTheTripleLoop) {
  constexpr int64_t kM = 600, kN = 530, kK = 37;  // crosses the tile of 512 on both sides
  for (bool ta : {false, true}) {
    for (bool tb : {false, true}) {
      Tensor a = Tensor::Empty(ta ? Shape{kK, kM} : Shape{kM, kK}, {DType::kF64});
      Tensor b = Tensor::Empty(tb ? Shape{kN, kK} : Shape{kK, kN}, {DType::kF64});
      Tensor c = Tensor::Empty({kM, kN}, {DType::kF64});
      for (int64_t i = 0; i < a.NumElements(); ++i) a.data<double>()[i] = double(i % 13) - 6;
      for (int64_t i = 0; i < b.NumElements(); ++i) b.data<double>()[i] = double(i % 11) - 5;
      for (int64_t i = 0; i < c.NumElements(); ++i) c.data<double>()[i] = double(i % 7);
      MatmulInto(c, a, ta ? Transpose::kYes : Transpose::kNo, b,
                 tb ? Transpose::kYes : Transpose::kNo, 1.0);
      for (int64_t m = 0; m < kM; m += 17) {
        for (int64_t n = 0; n < kN; n += 13) {
          double sum = double((m * kN + n) % 7);  // integers: exact in any order
          for (int64_t k = 0; k < kK; ++k) {
            sum += a.data<double>()[ta ? k * kM + m : m * kK + k] *
                   b.data<double>()[tb ? n * kK + k : k * kN + n];
          }
          ASSERT_EQ(c.data<double>()[m * kN + n], sum) << m << "," << n;
        }
      }
    }
  }
}

}  // namespace
}  // namespace choir
