#include "ops/balance_loss.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/elementwise.h"
#include "ops/parallel_for.h"
#include "tensor/tolerance.h"
#include "tests/ops/op_case.h"
#include "tests/ops/rank_threads.h"

namespace choir {
namespace {

constexpr int64_t kRows = 6, kExperts = 10;
constexpr double kCoefficient = 0.7, kScale = 1.9;

RouterOptions Options(ScoreFunction score) {
  return {.experts = kExperts, .top_k = 3, .score = score};
}

// 1 for rows that count; empty: undefined.
Tensor Valid(const std::vector<float>& values, Device device) {
  if (values.empty()) return {};
  Tensor valid = Tensor::Empty({static_cast<int64_t>(values.size())}, {DType::kF32, device});
  if (device == Device::kCpu) std::copy(values.begin(), values.end(), valid.data<float>());
  return valid;
}

BalanceInput Input(const Tensor& valid, const RouterOptions& options) {
  return {.valid = valid, .coefficient = kCoefficient, .scale = kScale, .options = options};
}

using LossFn =
    std::function<Var(Tape&, const Var& logits, const Tensor& bias, const Tensor& valid)>;

OpCase Case(const std::string& name, const std::vector<float>& valid, const LossFn& loss) {
  return {name,
          {{.shape = {kRows, kExperts}, .scale = 2},
           {.shape = {kExperts}, .scale = 0.3, .wants_grad = false}},
          [valid, loss](Tape& tape, OpArguments& in) {
            return std::vector<Var>{
                loss(tape, in.var(0), in.tensor(1), Valid(valid, in.options.device))};
          },
          kRows * kExperts};
}

LossFn Sequence(ScoreFunction score, int64_t rows_per_sequence) {
  return [=](Tape& tape, const Var& x, const Tensor& bias, const Tensor& valid) {
    const RouterOptions options = Options(score);
    BalanceInput in = Input(valid, options);
    in.rows_per_sequence = rows_per_sequence;
    return SequenceBalanceLoss(tape, Route(tape, x, bias, options), in);
  };
}

LossFn Load(ScoreFunction score) {
  return [=](Tape& tape, const Var& x, const Tensor& bias, const Tensor& valid) {
    const RouterOptions options = Options(score);
    return LoadBalanceLoss(tape, Route(tape, x, bias, options), Input(valid, options));
  };
}

Var ZLoss(Tape& tape, const Var& x, const Tensor&, const Tensor& valid) {
  return RouterZLoss(tape, x, Input(valid, {}));
}

TEST(SequenceBalanceLoss, OpCase) {
  CheckOpCase(Case("sequence", {}, Sequence(ScoreFunction::kSigmoid, 3)));
}
TEST(SequenceBalanceLoss, PaddingAndAnEmptySequence) {
  CheckOpCase(Case("sequence_pad", {1, 0, 0, 0, 1, 1}, Sequence(ScoreFunction::kSqrtSoftplus, 2)));
}
TEST(LoadBalanceLoss, OpCase) { CheckOpCase(Case("load", {}, Load(ScoreFunction::kSoftmax))); }
TEST(LoadBalanceLoss, Padding) {
  CheckOpCase(Case("load_pad", {1, 0, 1, 1, 0, 1}, Load(ScoreFunction::kSigmoid)));
}
TEST(RouterZLoss, OpCase) { CheckOpCase(Case("z", {}, ZLoss)); }
TEST(RouterZLoss, Padding) { CheckOpCase(Case("z_pad", {0, 1, 1, 0, 1, 1}, ZLoss)); }

// The gradients of the router's weights and of a balance loss meet in the scores.
TEST(SequenceBalanceLoss, BesideTheWeights) {
  OpCase op = Case("sequence_and_weights", {}, nullptr);
  op.run = [](Tape& tape, OpArguments& in) {
    const RouterOptions options = Options(ScoreFunction::kSigmoid);
    const Routing routing = Route(tape, in.var(0), in.tensor(1), options);
    BalanceInput input = Input({}, options);
    input.rows_per_sequence = kRows;
    Var loss = SequenceBalanceLoss(tape, routing, input);
    return std::vector<Var>{loss, routing.weights};
  };
  CheckOpCase(op);
}

struct TwinInput {
  std::vector<double> scores;    // [T, E]
  std::vector<int32_t> choices;  // [T, K]: those that count for f
  std::vector<float> valid;
  int64_t top_k;
};

// sum_i f_i P_i over the rows [begin, end).
double PlainBalance(const TwinInput& in, int64_t begin, int64_t end) {
  std::vector<double> f(kExperts), p(kExperts);
  double n = 0;
  for (int64_t t = begin; t < end; ++t) n += static_cast<double>(in.valid[static_cast<size_t>(t)]);
  if (n == 0) return 0;
  for (int64_t t = begin; t < end; ++t) {
    if (in.valid[static_cast<size_t>(t)] == 0) continue;
    for (int64_t k = 0; k < in.top_k; ++k) {
      f[static_cast<size_t>(in.choices[static_cast<size_t>(t * in.top_k + k)])] +=
          double(kExperts) / (double(in.top_k) * n);
    }
    double sum = 0;
    for (int64_t e = 0; e < kExperts; ++e) sum += in.scores[static_cast<size_t>(t * kExperts + e)];
    for (int64_t e = 0; e < kExperts; ++e) {
      p[static_cast<size_t>(e)] += in.scores[static_cast<size_t>(t * kExperts + e)] / sum / n;
    }
  }
  double total = 0;
  for (size_t e = 0; e < f.size(); ++e) total += f[e] * p[e];
  return total;
}

TEST(BalanceLoss, AgainstThePlainDefinitions) {
  constexpr int64_t kTokens = 120, kPerSequence = 30;
  const RouterOptions options{
      .experts = kExperts, .top_k = 4, .groups = 5, .group_limit = 2, .route_scale = 2};
  Tensor logits = Tensor::Empty({kTokens, kExperts}, {});
  for (int64_t i = 0; i < logits.NumElements(); ++i) {
    logits.data<float>()[i] =
        static_cast<float>(2 * std::sin(0.9 * double(i) + 0.01 * double(i * i % 97)));
  }
  Tensor bias = Tensor::Empty({kExperts}, {});
  for (int64_t e = 0; e < kExperts; ++e) bias.data<float>()[e] = 0.1f * static_cast<float>(e % 3);
  TwinInput in{.top_k = options.top_k};
  for (int64_t t = 0; t < kTokens; ++t) {
    in.valid.push_back(t % 7 == 3 || t / kPerSequence == 2 ? 0 : 1);  // one sequence is empty
  }
  Tape tape;
  const Routing routing = Route(tape, tape.Input(logits, true), bias, options);
  const Tensor& scores = routing.scores.tensor();
  for (int64_t i = 0; i < scores.NumElements(); ++i) {
    in.scores.push_back(static_cast<double>(scores.data<float>()[i]));
  }
  const Tensor valid = Valid(in.valid, Device::kCpu);
  const double bound = ErrorBound(DType::kF32, kTokens * kExperts);

  const auto routed = routing.indices.tensor().span<int32_t>();
  in.choices.assign(routed.begin(), routed.end());
  const double load = kCoefficient * kScale * PlainBalance(in, 0, kTokens);
  BalanceInput input = Input(valid, options);
  input.rows_per_sequence = kPerSequence;
  EXPECT_NEAR(ScalarValue(LoadBalanceLoss(tape, routing, input).tensor()), load, bound * load);

  const Tensor raw = ChooseExperts(scores, {}, {.experts = kExperts, .top_k = options.top_k});
  in.choices.assign(raw.span<int32_t>().begin(), raw.span<int32_t>().end());
  ASSERT_FALSE(std::equal(routed.begin(), routed.end(), in.choices.begin()));
  double sequence = 0;
  for (int64_t q = 0; q < kTokens / kPerSequence; ++q) {
    sequence += PlainBalance(in, q * kPerSequence, (q + 1) * kPerSequence);
  }
  sequence *= kCoefficient * kScale / double(kTokens / kPerSequence);
  EXPECT_NEAR(ScalarValue(SequenceBalanceLoss(tape, routing, input).tensor()), sequence,
              bound * sequence);
}

TEST(BalanceLoss, EvenLoadGivesOne) {
  // Token t prefers expert t alone; all experts are equally popular.
  const RouterOptions options{.experts = kExperts, .top_k = 1, .score = ScoreFunction::kSoftmax};
  Tensor logits = Tensor::Zeros({kExperts, kExperts}, {});
  for (int64_t t = 0; t < kExperts; ++t) logits.data<float>()[t * kExperts + t] = 1;
  Tape tape;
  const Routing routing = Route(tape, tape.Input(logits, true), {}, options);
  const double bound = ErrorBound(DType::kF32, kExperts);
  const BalanceInput input{.options = options, .rows_per_sequence = kExperts};
  EXPECT_NEAR(ScalarValue(LoadBalanceLoss(tape, routing, input).tensor()), 1, bound);
  EXPECT_NEAR(ScalarValue(SequenceBalanceLoss(tape, routing, input).tensor()), 1, bound);
}

TEST(RouterZLoss, AgainstThePlainDefinition) {
  const std::vector<float> x = {0, 1, 2, 300, 300, 300, -7, 0, 7};
  const std::vector<float> valid = {1, 1, 0};
  Tape tape;
  Var logits = tape.Input(Tensor::From<float>({3, 3}, x));
  const double first = std::log(1 + std::exp(1) + std::exp(2)), second = 300 + std::log(3);
  const double expected = 0.5 * (first * first + second * second) / 2;
  const BalanceInput input{.valid = Valid(valid, Device::kCpu), .coefficient = 0.25, .scale = 2};
  EXPECT_NEAR(ScalarValue(RouterZLoss(tape, logits, input).tensor()), expected,
              ErrorBound(DType::kF32, 3) * expected);
}

TEST(BalanceLoss, NothingValidIsZero) {
  const RouterOptions options = Options(ScoreFunction::kSigmoid);
  Tape tape;
  Var logits = tape.Input(Tensor::Zeros({2, kExperts}, {}), true);
  const Routing routing = Route(tape, logits, {}, options);
  const BalanceInput none{
      .valid = Valid({0, 0}, Device::kCpu), .options = options, .rows_per_sequence = 1};
  EXPECT_EQ(ScalarValue(LoadBalanceLoss(tape, routing, none).tensor()), 0);
  EXPECT_EQ(ScalarValue(SequenceBalanceLoss(tape, routing, none).tensor()), 0);
  EXPECT_EQ(ScalarValue(RouterZLoss(tape, logits, none).tensor()), 0);
}

struct Losses {
  std::vector<double> values;   // sequence, load, z
  std::vector<Tensor> dlogits;  // of each loss
  int calls = 0;
};

// All three losses of some rows of `logits`, of which padding is every fifth row.
Losses RunRows(const Tensor& logits, const RowRuns& runs, int64_t rows_per_sequence,
               ThreadGroup* group) {
  std::vector<float> valid;
  for (const RowRun& run : runs) {
    for (int64_t t = run.begin; t < run.begin + run.count; ++t) valid.push_back(t % 5 == 2 ? 0 : 1);
  }
  Tensor bias = RandomFloats({kExperts}, "bias");
  const RouterOptions options = Options(ScoreFunction::kSigmoid);
  BalanceInput in = Input(Tensor::From<float>({NumRows(runs)}, valid), options);
  in.rows_per_sequence = rows_per_sequence;
  in.runs = runs;
  in.total_rows = logits.dim(0);
  in.token_group = group;
  Losses losses;
  for (int which = 0; which < 3; ++which) {
    Tape tape;
    Var x = tape.Input(TakeRows(logits, runs), true);
    const Routing routing = Route(tape, x, bias, options);
    Var loss = which == 0   ? SequenceBalanceLoss(tape, routing, in)
               : which == 1 ? LoadBalanceLoss(tape, routing, in)
                            : RouterZLoss(tape, x, in);
    losses.values.push_back(ScalarValue(loss.tensor()));
    tape.RunBackward(loss, ScalarTensor(1, {}));
    losses.dlogits.push_back(x.grad()->grad);
  }
  if (group != nullptr) losses.calls = group->calls();
  return losses;
}

// How `rows` rows lie on `ranks` ranks: cut anywhere, or two pieces of every sequence on each rank.
std::vector<RowRuns> Deal(int64_t rows, int64_t rows_per_sequence, int ranks, bool in_pairs) {
  std::vector<RowRuns> dealt(static_cast<size_t>(ranks));
  const int64_t length = in_pairs ? rows_per_sequence : rows, pieces = in_pairs ? 2 * ranks : ranks;
  for (int64_t first = 0; first < rows; first += length) {
    for (int64_t i = 0; i < pieces; ++i) {
      const int64_t rank = i < ranks ? i : pieces - 1 - i;
      const int64_t begin = PieceBegin(length, pieces, i);
      AppendRows(dealt[static_cast<size_t>(rank)], first + begin,
                 PieceBegin(length, pieces, i + 1) - begin);
    }
  }
  return dealt;
}

void ExpectLossesOfOneRank(const Tensor& logits, int64_t rows_per_sequence,
                           const std::vector<RowRuns>& dealt) {
  const int64_t rows = logits.dim(0);
  const Losses whole = RunRows(logits, {{0, rows, 0}}, rows_per_sequence, nullptr);
  std::vector<Losses> parts(dealt.size());
  SetNumThreads(1);
  RunRanks(static_cast<int>(dealt.size()), [&](int r, ThreadGroup& group) {
    const auto i = static_cast<size_t>(r);
    parts[i] = RunRows(logits, dealt[i], rows_per_sequence, &group);
  });
  SetNumThreads(0);
  for (size_t i = 0; i < 3; ++i) {
    double sum = 0;
    for (size_t r = 0; r < dealt.size(); ++r) {
      sum += parts[r].values[i];
      EXPECT_EQ(parts[r].calls, 3);
      ExpectSameBits(parts[r].dlogits[i], TakeRows(whole.dlogits[i], dealt[r]));
    }
    EXPECT_NEAR(sum, whole.values[i], ErrorBound(DType::kF32, rows * kExperts) * whole.values[i]);
  }
}

// Ranks may have parts of one sequence or of several, or no row at all. All gradients have the bits
// of one rank, on any number of ranks.
TEST(BalanceLoss, TokensSpreadOverRanks) {
  for (const auto& [rows, rows_per_sequence] :
       {std::pair<int64_t, int64_t>(37, 37), std::pair<int64_t, int64_t>(36, 12),
        std::pair<int64_t, int64_t>(6, 3)}) {
    const Tensor logits = RandomFloats({rows, kExperts}, "logits");
    for (int ranks : {2, 3, 4, 8}) {
      SCOPED_TRACE(std::to_string(ranks) + " ranks, rows: " + std::to_string(rows));
      for (bool in_pairs : {false, true}) {
        ExpectLossesOfOneRank(logits, rows_per_sequence,
                              Deal(rows, rows_per_sequence, ranks, in_pairs));
      }
    }
  }
}

TEST(BalanceLossDeathTest, RowsThatAreNotInTheMicrobatch) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Tape tape;
  Var logits = tape.Input(Tensor::Zeros({4, kExperts}, {}));
  EXPECT_DEATH(RouterZLoss(tape, logits, {.runs = {{3, 4, 0}}, .total_rows = 6}),
               "rows up to 7 of 6");
  EXPECT_DEATH(RouterZLoss(tape, logits, {.runs = {{3, 3, 0}}, .total_rows = 6}),
               "4 rows, but the runs have 3");
  const Routing routing = Route(tape, logits, {}, Options(ScoreFunction::kSigmoid));
  BalanceInput in = Input({}, Options(ScoreFunction::kSigmoid));
  EXPECT_DEATH(SequenceBalanceLoss(tape, routing, in), "0 rows in a sequence");
  in.rows_per_sequence = 3;
  EXPECT_DEATH(SequenceBalanceLoss(tape, routing, in), "4 rows in sequences of 3");
}

}  // namespace
}  // namespace choir
