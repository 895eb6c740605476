#include "ops/grouped_matmul.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "ops/parallel_for.h"
#include "tests/ops/op_case.h"

namespace choir {
namespace {

// For rows sorted by expert: the i-th eighth of each expert's rows belongs to leaf i.
std::shared_ptr<const GroupedLeaves> EighthsOf(const std::vector<int32_t>& offsets) {
  auto leaves = std::make_shared<GroupedLeaves>();
  leaves->experts = static_cast<int64_t>(offsets.size()) - 1;
  for (int64_t i = 0; i < kVirtualPieces; ++i) {
    leaves->index.push_back(i);
    for (size_t e = 0; e + 1 < offsets.size(); ++e) {
      const int64_t rows = offsets[e + 1] - offsets[e];
      for (int64_t end : {i, i + 1}) {
        leaves->bounds.push_back(offsets[e] +
                                 static_cast<int32_t>(PieceBegin(rows, kVirtualPieces, end)));
      }
    }
  }
  return leaves;
}

OpCase Case(const std::string& name, Shape w, std::vector<int32_t> offsets) {
  return {name,
          {{.shape = {offsets.back(), w.dim(-1)}},
           {.shape = w, .parameter = true},
           {.shape = {w.dim(0) + 1}, .integers = offsets}},
          [offsets](Tape& tape, OpArguments& in) {
            GroupedOptions options;
            if (tape.rows() != nullptr) options.leaves = EighthsOf(offsets);
            return std::vector<Var>{
                GroupedLinear(tape, in.var(0), in.parameter(1), in.tensor(2), options)};
          },
          w.NumElements()};
}

TEST(GroupedLinear, UnevenExperts) { CheckOpCase(Case("grouped", {3, 4, 7}, {0, 2, 3, 9})); }

TEST(GroupedLinear, EmptyExperts) {
  CheckOpCase(Case("grouped_empty", {5, 3, 4}, {0, 0, 4, 4, 6, 6}));
}

TEST(GroupedLinear, AllRowsToOneExpert) {
  CheckOpCase(Case("grouped_one", {3, 5, 4}, {0, 0, 8, 8}));
}

TEST(GroupedLinear, WeightsOfFourDims) { CheckOpCase(Case("grouped_4d", {2, 3, 2, 5}, {0, 4, 7})); }

TEST(GroupedLinear, WithoutInputGradient) {
  OpCase op = Case("grouped_no_dx", {2, 3, 4}, {0, 4, 7});
  op.inputs[0].wants_grad = false;
  CheckOpCase(op);
}

// What is called around the products, in order.
struct Calls {
  std::vector<std::string> log;
  int polls = 0;

  ExpertRuns Runs(const std::string& name, std::vector<int64_t> bounds) {
    return {std::move(bounds),
            [this, name](int64_t run) { log.push_back(name + " before " + std::to_string(run)); },
            [this, name](int64_t run, const Tensor&) {
              log.push_back(name + " after " + std::to_string(run));
            },
            [this] { ++polls; }};
  }
};

OpCase RunsCase(const std::shared_ptr<Calls>& calls) {
  OpCase op = Case("grouped_runs", {4, 4, 7}, {0, 2, 3, 3, 20});
  op.run = [calls, leaves = EighthsOf({0, 2, 3, 3, 20})](Tape& tape, OpArguments& in) {
    GroupedOptions options{.forward = calls->Runs("y", {0, 1, 4}),
                           .backward = calls->Runs("dx", {0, 3, 4})};
    if (tape.rows() != nullptr) options.leaves = leaves;
    return std::vector<Var>{GroupedLinear(tape, in.var(0), in.parameter(1), in.tensor(2), options)};
  };
  return op;
}

TEST(GroupedLinear, RunsOfExperts) {
  CheckOpCase(RunsCase(std::make_shared<Calls>()));
  CheckInvariantOpCase(RunsCase(std::make_shared<Calls>()), 20);
}

TEST(GroupedLinear, CallsAroundRuns) {
  Calls calls;
  Parameter w;
  w.value = Tensor::Zeros({3, 4, 7}, {});
  w.grad = Tensor::Zeros({3, 4, 7}, {});
  SetNumThreads(1);
  Tape tape;
  const Var x = tape.Input(Tensor::Zeros({5, 7}, {}), /*wants_grad=*/true);
  const std::vector<int32_t> offsets = {0, 2, 2, 5};
  const Var y = GroupedLinear(
      tape, x, w, Tensor::From<int32_t>({4}, offsets),
      {.forward = calls.Runs("y", {0, 1, 3}), .backward = calls.Runs("dx", {0, 2, 3})});
  EXPECT_EQ(calls.log,
            (std::vector<std::string>{"y before 0", "y after 0", "y before 1", "y after 1"}));
  calls.log.clear();
  tape.RunBackward(y, Tensor::Zeros({5, 4}, {}));
  // Then everything is awaited once more, for the gradient of the weight.
  EXPECT_EQ(calls.log,
            (std::vector<std::string>{"dx before 0", "dx after 0", "dx before 1", "dx after 1",
                                      "y before 0", "y before 1", "dx before 0", "dx before 1"}));
  EXPECT_EQ(calls.polls, 4) << "one for each product of an expert with rows";
  SetNumThreads(0);
}

TEST(GroupedLinearInvariant, UnevenExperts) {
  CheckInvariantOpCase(Case("grouped", {3, 4, 7}, {0, 2, 3, 20}), 20);
}
TEST(GroupedLinearInvariant, EmptyExperts) {
  CheckInvariantOpCase(Case("grouped_empty", {5, 3, 4}, {0, 0, 4, 4, 6, 6}), 6);
}
TEST(GroupedLinearInvariant, AllRowsToOneExpert) {
  CheckInvariantOpCase(Case("grouped_one", {3, 5, 4}, {0, 0, 8, 8}), 8);
}
TEST(GroupedLinearInvariant, WeightsOfFourDims) {
  CheckInvariantOpCase(Case("grouped_4d", {2, 3, 2, 5}, {0, 4, 7}), 7);
}
TEST(GroupedLinearInvariant, WithoutLeaves) {
  CheckInvariantOpCase(Case("grouped_whole", {2, 4, 5}, {0, 4, 7}), 0);
}

// Enough rows and outputs for every kind of tile; integers, so that sums are exact in any order.
TEST(GroupedLinear, TilesAgainstTheTripleLoop) {
  constexpr int64_t kExperts = 4, kOut = 600, kIn = 3, kRows = 3000;
  const std::vector<int32_t> offsets = {0, 700, 700, 2900, kRows};
  Parameter w;
  w.value = Tensor::Empty({kExperts, kOut, kIn}, {});
  w.grad = Tensor::Empty({kExperts, kOut, kIn}, {});
  Tensor x = Tensor::Empty({kRows, kIn}, {}), dy = Tensor::Empty({kRows, kOut}, {});
  auto value = [](const Tensor& t, int64_t i) -> float& { return t.data<float>()[i]; };
  for (int64_t i = 0; i < w.value.NumElements(); ++i) {
    value(w.value, i) = static_cast<float>(i % 7 - 3);
    value(w.grad, i) = static_cast<float>(i % 5);
  }
  for (int64_t i = 0; i < x.NumElements(); ++i) value(x, i) = static_cast<float>(i % 5 - 2);
  for (int64_t i = 0; i < dy.NumElements(); ++i) value(dy, i) = static_cast<float>(i % 3 - 1);
  Tape tape;
  Var xv = tape.Input(x, true);
  Var y = GroupedLinear(tape, xv, w, Tensor::From<int32_t>({kExperts + 1}, offsets));
  tape.RunBackward(y, dy);
  Tensor dw = Tensor::Empty(w.grad.shape(), {});
  for (int64_t i = 0; i < dw.NumElements(); ++i) value(dw, i) = static_cast<float>(i % 5);
  for (int64_t e = 0; e < kExperts; ++e) {
    for (int64_t n = offsets[static_cast<size_t>(e)]; n < offsets[static_cast<size_t>(e + 1)];
         ++n) {
      std::vector<float> dx(kIn);
      for (int64_t o = 0; o < kOut; ++o) {
        float sum = 0;
        for (int64_t i = 0; i < kIn; ++i) {
          const int64_t at = (e * kOut + o) * kIn + i;
          sum += value(w.value, at) * value(x, n * kIn + i);
          dx[static_cast<size_t>(i)] += value(w.value, at) * value(dy, n * kOut + o);
          value(dw, at) += value(x, n * kIn + i) * value(dy, n * kOut + o);
        }
        ASSERT_EQ(value(y.tensor(), n * kOut + o), sum) << n << "," << o;
      }
      for (int64_t i = 0; i < kIn; ++i) {
        ASSERT_EQ(value(xv.grad()->grad, n * kIn + i), dx[static_cast<size_t>(i)]) << n;
      }
    }
  }
  for (int64_t i = 0; i < dw.NumElements(); ++i) ASSERT_EQ(value(w.grad, i), value(dw, i)) << i;
}

}  // namespace
}  // namespace choir
