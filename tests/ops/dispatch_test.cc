#include "ops/dispatch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/ops/op_case.h"

namespace choir {
namespace {

constexpr int kExperts = 5;

// Choices of `rows` tokens, `top_k` different experts each; expert 3 gets none.
std::vector<int32_t> SomeIndices(int64_t rows, int64_t top_k) {
  const int32_t order[] = {4, 0, 2, 1};
  std::vector<int32_t> indices;
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t k = 0; k < top_k; ++k) indices.push_back(order[(t * t + k) % 4]);
  }
  return indices;
}

Dispatch Plan(Tape& tape, const Tensor& indices, int experts = kExperts) {
  return PlanDispatch(tape, tape.Input(indices), experts);
}

OpCase PermuteCase(const std::string& name, Shape x, int64_t top_k) {
  return {name,
          {{.shape = x}, {.shape = {x.dim(0), top_k}, .integers = SomeIndices(x.dim(0), top_k)}},
          [](Tape& tape, OpArguments& in) {
            const Dispatch dispatch = Plan(tape, in.tensor(1));
            return std::vector<Var>{Permute(tape, in.var(0), dispatch)};
          },
          top_k};
}

TEST(Permute, OpCase) { CheckOpCase(PermuteCase("permute", {6, 5}, 3)); }
TEST(Permute, TopOne) { CheckOpCase(PermuteCase("permute_top1", {7, 16}, 1)); }
TEST(Permute, WideRows) { CheckOpCase(PermuteCase("permute_wide", {3, 150}, 4)); }

OpCase UnpermuteCase(const std::string& name, Shape out, int64_t top_k) {
  return {name,
          {{.shape = {out.dim(0) * top_k, out.dim(1)}},
           {.shape = {out.dim(0), top_k}},
           {.shape = {out.dim(0), top_k}, .integers = SomeIndices(out.dim(0), top_k)}},
          [](Tape& tape, OpArguments& in) {
            const Dispatch dispatch = Plan(tape, in.tensor(2));
            return std::vector<Var>{Unpermute(tape, in.var(0), in.var(1), dispatch)};
          },
          out.dim(1)};
}

TEST(Unpermute, OpCase) { CheckOpCase(UnpermuteCase("unpermute", {6, 5}, 3)); }
TEST(Unpermute, TopOne) { CheckOpCase(UnpermuteCase("unpermute_top1", {7, 16}, 1)); }
TEST(Unpermute, WideRows) { CheckOpCase(UnpermuteCase("unpermute_wide", {3, 150}, 4)); }

TEST(Unpermute, OneGradientOnly) {
  OpCase op = UnpermuteCase("unpermute_rows_only", {4, 5}, 2);
  op.inputs[1].wants_grad = false;
  CheckOpCase(op);
  op = UnpermuteCase("unpermute_weights_only", {4, 5}, 2);
  op.inputs[0].wants_grad = false;
  CheckOpCase(op);
}

// Choices of which some are absent: all of token 1, every fifth of the others.
std::vector<int32_t> SomeAbsent(int64_t rows, int64_t top_k) {
  std::vector<int32_t> indices = SomeIndices(rows, top_k);
  for (size_t i = 0; i < indices.size(); ++i) {
    if (i % 5 == 3 || static_cast<int64_t>(i) / top_k == 1) indices[i] = kAbsent;
  }
  return indices;
}

int64_t CountPresent(const std::vector<int32_t>& indices) {
  return std::count_if(indices.begin(), indices.end(), [](int32_t e) { return e != kAbsent; });
}

// On meta no choice is known to be absent, so that results of one row for each choice differ in
// shape: Permute and Unpermute are one op here.
OpCase AbsentCase(Shape x, int64_t top_k) {
  return {"absent",
          {{.shape = x},
           {.shape = {x.dim(0), top_k}},
           {.shape = {x.dim(0), top_k}, .integers = SomeAbsent(x.dim(0), top_k)}},
          [](Tape& tape, OpArguments& in) {
            const Dispatch dispatch = Plan(tape, in.tensor(2));
            const Var rows = Permute(tape, in.var(0), dispatch);
            return std::vector<Var>{Unpermute(tape, rows, in.var(1), dispatch),
                                    SumCopies(tape, rows, dispatch)};
          },
          x.dim(1),
          /*data_decide_memory=*/true};
}

TEST(AbsentChoices, OpCase) { CheckOpCase(AbsentCase({6, 5}, 3)); }
TEST(AbsentChoices, WideRows) { CheckOpCase(AbsentCase({4, 150}, 4)); }

TEST(SumCopies, OpCase) {
  OpCase op = UnpermuteCase("sum_copies", {6, 5}, 3);
  op.inputs[1].wants_grad = false;
  op.run = [](Tape& tape, OpArguments& in) {
    return std::vector<Var>{SumCopies(tape, in.var(0), Plan(tape, in.tensor(2)))};
  };
  CheckOpCase(op);
}

// The rows of absent choices, with weights of 0 instead: the same sums.
TEST(AbsentChoices, AreAsWithoutWeight) {
  constexpr int64_t kRows = 7, kTopK = 3, kWidth = 20;
  const std::vector<int32_t> present = SomeIndices(kRows, kTopK), absent = SomeAbsent(kRows, kTopK);
  ASSERT_LT(CountPresent(absent), kRows * kTopK);
  Tensor x = Tensor::Empty({kRows, kWidth}, {}), weights = Tensor::Empty({kRows, kTopK}, {});
  for (int64_t i = 0; i < x.NumElements(); ++i) x.data<float>()[i] = static_cast<float>(i % 13);
  for (int64_t i = 0; i < weights.NumElements(); ++i) {
    weights.data<float>()[i] = 0.5f + static_cast<float>(i % 4);
  }
  const auto run = [&](const std::vector<int32_t>& indices, const Tensor& w) {
    Tape tape(false);
    const Dispatch dispatch = Plan(tape, Tensor::From<int32_t>({kRows, kTopK}, indices));
    return Unpermute(tape, Permute(tape, tape.Input(x), dispatch), tape.Input(w), dispatch)
        .tensor();
  };
  const Tensor left_out = run(absent, weights);
  for (size_t i = 0; i < absent.size(); ++i) {
    if (absent[i] == kAbsent) weights.data<float>()[i] = 0;
  }
  const Tensor zero = run(present, weights);
  for (int64_t i = 0; i < zero.NumElements(); ++i) {
    ASSERT_EQ(left_out.data<float>()[i], zero.data<float>()[i]) << i;
  }
}

TEST(PlanDispatch, AbsentChoicesHaveNoRow) {
  const std::vector<int32_t> indices = SomeAbsent(8, 3);
  Tape tape;
  const Dispatch dispatch = Plan(tape, Tensor::From<int32_t>({8, 3}, indices));
  ASSERT_EQ(dispatch.source.NumElements(), CountPresent(indices));
  EXPECT_EQ(dispatch.offsets.data<int32_t>()[kExperts], CountPresent(indices));
  for (size_t i = 0; i < indices.size(); ++i) {
    const int32_t row = dispatch.position.data<int32_t>()[i];
    if (indices[i] == kAbsent) {
      EXPECT_EQ(row, kAbsent);
    } else {
      EXPECT_EQ(dispatch.source.data<int32_t>()[row], static_cast<int32_t>(i));
    }
  }
}

// Against a stable sort of the choices by expert.
TEST(PlanDispatch, IsAStableSort) {
  constexpr int64_t kRows = 333, kTopK = 3;
  std::vector<int32_t> indices = SomeIndices(kRows, kTopK);
  std::vector<int32_t> sorted(indices.size());
  std::iota(sorted.begin(), sorted.end(), 0);
  auto expert = [&](int32_t i) { return indices[static_cast<size_t>(i)]; };
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](int32_t a, int32_t b) { return expert(a) < expert(b); });
  Tape tape;
  const Tensor chosen = Tensor::From<int32_t>({kRows, kTopK}, indices);
  const Dispatch dispatch = Plan(tape, chosen);
  ASSERT_EQ(dispatch.position.shape(), Shape({kRows, kTopK}));
  for (size_t n = 0; n < sorted.size(); ++n) {
    ASSERT_EQ(dispatch.source.data<int32_t>()[n], sorted[n]);
    ASSERT_EQ(dispatch.position.data<int32_t>()[sorted[n]], static_cast<int32_t>(n));
  }
  ASSERT_EQ(dispatch.offsets.NumElements(), kExperts + 1);
  const std::vector<int64_t> counts = ExpertCounts(dispatch);
  for (int32_t e = 0; e < kExperts; ++e) {
    const int64_t before =
        std::count_if(indices.begin(), indices.end(), [e](int32_t other) { return other < e; });
    EXPECT_EQ(dispatch.offsets.data<int32_t>()[e], before);
    EXPECT_EQ(counts[static_cast<size_t>(e)], std::count(indices.begin(), indices.end(), e));
  }
  EXPECT_EQ(dispatch.offsets.data<int32_t>()[kExperts], kRows * kTopK);
  EXPECT_EQ(counts[3], 0);
  EXPECT_EQ(ExpertCounts(chosen, {}, kExperts), counts);
}

TEST(PlanDispatch, EverythingToOneExpert) {
  const std::vector<int32_t> indices(7, 2);
  Tape tape;
  const Dispatch dispatch = Plan(tape, Tensor::From<int32_t>({7, 1}, indices));
  EXPECT_EQ(ExpertCounts(dispatch), (std::vector<int64_t>{0, 0, 7, 0, 0}));
  for (int32_t n = 0; n < 7; ++n) EXPECT_EQ(dispatch.source.data<int32_t>()[n], n);
}

TEST(PlanDispatch, NoRows) {
  Tape tape;
  const Dispatch dispatch = Plan(tape, Tensor::Empty({0, 2}, {DType::kI32}));
  EXPECT_EQ(ExpertCounts(dispatch), std::vector<int64_t>(kExperts, 0));
}

TEST(ExpertCounts, LeavesOutPadding) {
  const std::vector<int32_t> indices = {0, 1, 1, 2, 0, 4};
  const std::vector<float> valid = {1, 0, 1};
  EXPECT_EQ(ExpertCounts(Tensor::From<int32_t>({3, 2}, indices), Tensor::From<float>({3}, valid),
                         kExperts),
            (std::vector<int64_t>{2, 1, 0, 0, 1}));
}

TEST(Unpermute, UndoesPermute) {
  constexpr int64_t kRows = 64, kWidth = 40, kTopK = 4;
  Tensor x = Tensor::Empty({kRows, kWidth}, {});
  for (int64_t i = 0; i < x.NumElements(); ++i) x.data<float>()[i] = static_cast<float>(i % 101);
  Tensor weights = Tensor::Empty({kRows, kTopK}, {});
  for (float& w : weights.span<float>()) w = 0.25f;
  Tape tape(false);
  const Dispatch dispatch =
      Plan(tape, Tensor::From<int32_t>({kRows, kTopK}, SomeIndices(kRows, kTopK)));
  Var sorted = Permute(tape, tape.Input(x), dispatch);
  Var back = Unpermute(tape, sorted, tape.Input(weights), dispatch);
  for (int64_t i = 0; i < x.NumElements(); ++i) {
    ASSERT_EQ(back.tensor().data<float>()[i], x.data<float>()[i]);
  }
}

TEST(PlanDispatchDeathTest, ExpertOutOfRange) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const std::vector<int32_t> indices = {0, 5};
  Tape tape;
  EXPECT_DEATH(Plan(tape, Tensor::From<int32_t>({1, 2}, indices)), "expert 5 of 5");
}

}  // namespace
}  // namespace choir
