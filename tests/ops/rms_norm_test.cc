#include "ops/rms_norm.h"

#include <gtest/gtest.h>

#include "tensor/tolerance.h"
#include "tests/ops/attention_twin.h"
#include "tests/ops/op_case.h"
#include "tests/ops/rank_threads.h"
#include "tests/ops/recompute_where.h"

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
      RecomputeWhere([](std::string_view tag, int) { return tag == "norm" || tag == "delta"; }));
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

// 1000 rows: leaves of 125, which are not whole blocks.
TEST(RmsNorm, LeavesOfTokens) {
  for (int64_t rows : {int64_t{5}, int64_t{37}, int64_t{1000}}) {
    const Tensor x = RandomFloats({rows, 21}, "x"), dy = RandomFloats({rows, 21}, "dy");
    const Tensor weight = RandomFloats({21}, "w");
    const Tensor gradient = ExpectSameOnAnyTokens(rows, [&](const TokenPart& part) {
      Parameter w = FloatParameter(weight, OneMicrobatch());
      Tape tape;
      part.SetUp(tape);
      Var in = tape.Input(part.Of(x), true);
      Var y = RmsNorm(tape, in, w, kEps);
      tape.RunBackward(y, part.Of(dy));
      return TokenResult{{y.tensor(), in.grad()->grad}, w.tree->Take()};
    });
    Parameter w = FloatParameter(weight, nullptr);
    Tape tape;
    Var y = RmsNorm(tape, tape.Input(x, true), w, kEps);
    tape.RunBackward(y, dy);
    ExpectWithin(gradient, w.grad, 2 * ErrorBound(DType::kF32, rows));
  }
}

TEST(AddRmsNorm, LeavesOfTokens) {
  constexpr int64_t kRows = 150;
  const Tensor x = RandomFloats({kRows, 9}, "x"), delta = RandomFloats({kRows, 9}, "delta");
  const Tensor dsum = RandomFloats({kRows, 9}, "dsum"), dnormed = RandomFloats({kRows, 9}, "dn");
  const Tensor weight = RandomFloats({9}, "w");
  for (bool normed : {true, false}) {
    const Tensor gradient = ExpectSameOnAnyTokens(kRows, [&](const TokenPart& part) {
      Parameter w = FloatParameter(weight, OneMicrobatch());
      Tape tape;
      part.SetUp(tape);
      Var in = tape.Input(part.Of(x), true);
      const AddNormResult r = AddRmsNorm(tape, in, tape.Input(part.Of(delta)), w, kEps);
      std::vector<Var> outputs = {r.sum};
      std::vector<Tensor> seeds = {part.Of(dsum)};
      if (normed) {
        outputs.push_back(r.normed);
        seeds.push_back(part.Of(dnormed));
      }
      tape.RunBackward(outputs, seeds);
      return TokenResult{{r.sum.tensor(), r.normed.tensor(), in.grad()->grad}, w.tree->Take()};
    });
    EXPECT_EQ(SumOfSquares(gradient) > 0, normed);
  }
}

OpCase AddedCase(const std::string& name, std::function<std::vector<Var>(AddNormResult)> outputs) {
  return {"add_rms_norm/" + name,
          {{{70, 19}}, {.shape = {19}, .parameter = true, .offset = 1}},
          [outputs](Tape& tape, OpArguments& in) {
            return outputs(AddRmsNorm(tape, in.var(0), Var(), in.parameter(1), kEps));
          },
          19 + 70};
}

TEST(AddRmsNorm, AlreadyAddedOpCases) {
  CheckOpCase(AddedCase("added", [](AddNormResult r) {
    return std::vector<Var>{r.sum, r.normed};
  }));
  CheckOpCase(AddedCase("added_sum", [](AddNormResult r) { return std::vector<Var>{r.sum}; }));
  CheckOpCase(AddedCase("added_norm", [](AddNormResult r) { return std::vector<Var>{r.normed}; }));
}

// As where a pipeline is cut: one stage adds and sends the sum, the next one norms it.
TEST(AddRmsNorm, AddedElsewhereIsTheSameBits) {
  constexpr int64_t kRows = 150, kWidth = 21;
  const Tensor x = RandomFloats({kRows, kWidth}, "x"), delta = RandomFloats({kRows, kWidth}, "d");
  const Tensor dsum = RandomFloats({kRows, kWidth}, "ds"), dn = RandomFloats({kRows, kWidth}, "dn");
  for (int reached = 1; reached < 4; ++reached) {
    for (bool invariant : {false, true}) {
      auto run = [&](const Tensor& a, const Tensor& b) {
        Parameter w =
            FloatParameter(RandomFloats({kWidth}, "w"), invariant ? OneMicrobatch() : nullptr);
        Tape tape;
        if (invariant) PartOfTokens(kRows, 1, 0).SetUp(tape);
        Var in = tape.Input(a, true);
        const AddNormResult r = AddRmsNorm(tape, in, b.defined() ? tape.Input(b) : Var(), w, kEps);
        EXPECT_EQ(r.sum.tensor().SharesStorageWith(a), !b.defined());
        std::vector<Var> outputs;
        std::vector<Tensor> seeds;
        if (reached & 1) outputs.push_back(r.sum), seeds.push_back(dsum);
        if (reached & 2) outputs.push_back(r.normed), seeds.push_back(dn);
        tape.RunBackward(outputs, seeds);
        return std::vector<Tensor>{r.sum.tensor(), r.normed.tensor(), in.grad()->grad,
                                   invariant ? JoinNodes(w.tree->Take()) : w.grad};
      };
      const std::vector<Tensor> fused = run(x, delta);
      const std::vector<Tensor> added = run(fused[0], Tensor());
      for (size_t i = 0; i < fused.size(); ++i) ExpectSameBits(added[i], fused[i]);
    }
  }
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
