#include "ops/rms_norm.h"

#include <gtest/gtest.h>

#include "tensor/tolerance.h"
#include "tests/ops/attention_twin.h"
#include "tests/ops/op_case.h"

namespace choir {
namespace {

constexpr double kEps = 1e-5;

OpCase NormCase(const std::string& name, int64_t rows, int64_t width, double eps = kEps) {
  return {"rms_norm/" + name,
          {{{rows, width}}, {.shape = {width}, .parameter = true, .offset = 1}},
          [eps](Tape& tape, OpArguments& in) {
            return std::vector<Var>{RmsNorm(tape, in.var(0), in.parameter(1), eps)};
          },
          width + rows};
}

TEST(RmsNorm, OpCases) {
  CheckOpCase(NormCase("plain", 5, 32));
  // With a small eps the gradient of one column is zero up to rounding.
  CheckOpCase(NormCase("one_column", 4, 1, 0.5));
  CheckOpCase(NormCase("tail", 2, 37));
  CheckOpCase(NormCase("several_blocks_of_rows", 150, 5));
}

OpCase AddCase(const std::string& name, std::function<std::vector<Var>(AddNormResult)> outputs) {
  return {"add_rms_norm/" + name,
          {{{70, 19}}, {{70, 19}}, {.shape = {19}, .parameter = true, .offset = 1}},
          [outputs](Tape& tape, OpArguments& in) {
            return outputs(AddRmsNorm(tape, in.var(0), in.var(1), in.parameter(2), kEps));
          },
          19 + 70};
}

TEST(AddRmsNorm, OpCases) {
  CheckOpCase(AddCase("both", [](AddNormResult r) { return std::vector<Var>{r.sum, r.normed}; }));
  CheckOpCase(AddCase("sum_alone", [](AddNormResult r) { return std::vector<Var>{r.sum}; }));
  CheckOpCase(AddCase("normed_alone", [](AddNormResult r) { return std::vector<Var>{r.normed}; }));
}

TEST(AddRmsNorm, Chained) {
  CheckOpCase({"add_rms_norm/chained",
               {{{5, 9}}, {{5, 9}}, {.shape = {9}, .parameter = true, .offset = 1}},
               [](Tape& tape, OpArguments& in) {
                 auto [sum, normed] = AddRmsNorm(tape, in.var(0), in.var(1), in.parameter(2), kEps);
                 auto [total, last] = AddRmsNorm(tape, sum, normed, in.parameter(2), kEps);
                 return std::vector<Var>{total, last};
               },
               30});
}

TEST(RmsNorm, EqualsTheFormula) {
  const Tensor x = RandomTensor({7, 21}, "x"), delta = RandomTensor({7, 21}, "delta");
  Parameter w = MakeParameter({21}, "w");
  Tape tape(false);
  const Tensor alone = RmsNorm(tape, tape.Input(x), w, kEps).tensor();
  auto [sum, normed] = AddRmsNorm(tape, tape.Input(x), tape.Input(delta), w, kEps);
  const double bound = 4 * ErrorBound(DType::kF64, 21);  // no value exceeds 4
  for (bool add : {false, true}) {
    for (int64_t t = 0; t < 7; ++t) {
      double row[21], square = 0;
      for (int c = 0; c < 21; ++c) {
        row[c] = x.data<double>()[t * 21 + c] + (add ? delta.data<double>()[t * 21 + c] : 0.0);
        square += row[c] * row[c];
      }
      const Tensor& actual = add ? normed.tensor() : alone;
      for (int c = 0; c < 21; ++c) {
        const double expected = row[c] / std::sqrt(square / 21 + kEps) * w.value.data<double>()[c];
        EXPECT_NEAR(actual.data<double>()[t * 21 + c], expected, bound);
        if (add) {
          EXPECT_EQ(sum.tensor().data<double>()[t * 21 + c], row[c]);
        }
      }
    }
  }
}

TEST(RmsNorm, AZeroRowStaysZero) {
  Parameter w = MakeParameter({8}, "w");
  Tape tape;
  Var x = tape.Input(Tensor::Zeros({1, 8}, {DType::kF64}), true);
  Var y = RmsNorm(tape, x, w, kEps);
  const Tensor dy = RandomTensor({1, 8}, "dy");
  tape.RunBackward(y, dy);
  for (int c = 0; c < 8; ++c) {
    EXPECT_EQ(y.tensor().data<double>()[c], 0);
    EXPECT_NEAR(x.grad()->grad.data<double>()[c],
                dy.data<double>()[c] * w.value.data<double>()[c] / std::sqrt(kEps),
                1e3 * ErrorBound(DType::kF64, 1));
  }
}

// A policy that drops the normalised rows only must not ask for `delta` again.
TEST(AddRmsNorm, NormedComesBackFromSumAlone) {
  Parameter w = MakeParameter({8}, "w");
  Tape tape;
  tape.SetRecomputePolicy(
      [](std::string_view tag, int) { return tag == "norm" || tag == "delta"; });
  Var x = tape.Input(RandomTensor({4, 8}, "x"), true);
  int delta_runs = 0;
  Saved sum, normed;
  {
    Var delta = tape.Compute("delta", [&] {
      ++delta_runs;
      return RandomTensor({4, 8}, "delta");
    });
    AddNormResult result = AddRmsNorm(tape, x, delta, w, kEps);
    sum = result.sum.Save();
    normed = result.normed.Save();
  }
  normed.Get();
  EXPECT_EQ(tape.recomputed(), 1);
  EXPECT_EQ(delta_runs, 1);
}

TEST(AddColumnSums, AddsInDouble) {
  Tensor rows = Tensor::Empty({3, 100}, {DType::kF32}), to = Tensor::Zeros({100}, {DType::kF32});
  for (int c = 0; c < 100; ++c) {
    rows.data<float>()[c] = 1e8f;
    rows.data<float>()[100 + c] = static_cast<float>(c);
    rows.data<float>()[200 + c] = -1e8f;
  }
  AddColumnSums(to, rows);
  AddColumnSums(to, rows);
  for (int c = 0; c < 100; ++c) EXPECT_EQ(to.data<float>()[c], 2.0f * static_cast<float>(c));
}

}  // namespace
}  // namespace choir
