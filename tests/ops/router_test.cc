#include "ops/router.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/random.h"
#include "tensor/tolerance.h"
#include "tests/ops/op_case.h"

namespace choir {
namespace {

OpCase Case(const std::string& name, Shape logits, RouterOptions options, bool biased = false) {
  options.experts = static_cast<int>(logits.dim(1));
  OpCase op{name,
            {{.shape = logits, .scale = 2}, {.shape = {logits.dim(1)}, .wants_grad = false}},
            [options, biased](Tape& tape, OpArguments& in) {
              const Routing r = Route(tape, in.var(0), biased ? in.tensor(1) : Tensor(), options);
              return std::vector<Var>{r.weights, r.indices, r.scores};
            },
            logits.dim(1)};
  return op;
}

TEST(Route, Sigmoid) { CheckOpCase(Case("route_sigmoid", {5, 12}, {.top_k = 3})); }

TEST(Route, SigmoidWithBias) {
  CheckOpCase(Case("route_bias", {5, 16}, {.top_k = 4, .route_scale = 2.5}, true));
}

TEST(Route, Softmax) {
  CheckOpCase(Case("route_softmax", {5, 19}, {.top_k = 3, .score = ScoreFunction::kSoftmax}, true));
}

TEST(Route, SqrtSoftplus) {
  CheckOpCase(Case("route_softplus", {4, 18},
                   {.top_k = 3, .score = ScoreFunction::kSqrtSoftplus, .route_scale = 1.5}));
}

TEST(Route, NotNormalised) {
  CheckOpCase(Case("route_raw", {5, 9}, {.top_k = 2, .normalize = false, .route_scale = 3}));
  CheckOpCase(Case("route_raw_softmax", {5, 9},
                   {.top_k = 2, .score = ScoreFunction::kSoftmax, .normalize = false}));
}

TEST(Route, Groups) {
  CheckOpCase(Case("route_groups", {4, 12}, {.top_k = 4, .groups = 4, .group_limit = 2}, true));
}

TEST(Route, AllExperts) {
  CheckOpCase(Case("route_all", {3, 6}, {.top_k = 6, .score = ScoreFunction::kSoftmax}));
}

TEST(Route, OneExpert) {
  CheckOpCase(Case("route_top1", {3, 6}, {.top_k = 1, .normalize = false}));
  CheckOpCase(Case("route_single", {3, 1}, {.top_k = 1, .normalize = false}));
}

double Softplus(double x) { return x > 20 ? x : std::log1p(std::exp(x)); }

std::vector<double> PlainScores(const std::vector<double>& x, ScoreFunction function) {
  std::vector<double> s;
  double sum = 0;
  for (double v : x) sum += std::exp(v);
  for (double v : x) {
    s.push_back(function == ScoreFunction::kSigmoid   ? 1 / (1 + std::exp(-v))
                : function == ScoreFunction::kSoftmax ? std::exp(v) / sum
                                                      : std::sqrt(Softplus(v)));
  }
  return s;
}

// Sorts everything, as the definition says.
std::vector<int32_t> PlainChoice(const std::vector<float>& value, const RouterOptions& options) {
  auto best_first = [](const auto& key) {
    std::vector<int32_t> order(key.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      return key[static_cast<size_t>(a)] > key[static_cast<size_t>(b)];
    });
    return order;
  };
  const size_t size = value.size() / static_cast<size_t>(options.groups);
  const size_t summed =
      std::min(size, static_cast<size_t>(std::max(1, options.top_k / options.group_limit)));
  std::vector<double> group_score;
  for (size_t g = 0; g < static_cast<size_t>(options.groups); ++g) {
    std::vector<double> inside(value.begin() + static_cast<std::ptrdiff_t>(g * size),
                               value.begin() + static_cast<std::ptrdiff_t>((g + 1) * size));
    std::sort(inside.rbegin(), inside.rend());
    group_score.push_back(
        std::accumulate(inside.begin(), inside.begin() + static_cast<std::ptrdiff_t>(summed), 0.0));
  }
  std::vector<int32_t> groups = best_first(group_score);
  groups.resize(static_cast<size_t>(options.group_limit));
  std::vector<int32_t> chosen;
  for (int32_t e : best_first(value)) {
    const int32_t group = e / static_cast<int32_t>(size);
    if (std::find(groups.begin(), groups.end(), group) == groups.end()) continue;
    if (static_cast<int>(chosen.size()) < options.top_k) chosen.push_back(e);
  }
  return chosen;
}

// Few distinct values, so that experts and groups tie often.
TEST(ChooseExperts, AgainstSortingEverything) {
  constexpr int64_t kRows = 200;
  const std::vector<RouterOptions> cases = {
      {.experts = 64, .top_k = 6},
      {.experts = 64, .top_k = 8, .groups = 8, .group_limit = 4},
      {.experts = 20, .top_k = 3, .groups = 5, .group_limit = 1},
      {.experts = 12, .top_k = 6, .groups = 6, .group_limit = 3},
      {.experts = 12, .top_k = 4, .groups = 4, .group_limit = 4},
      {.experts = 7, .top_k = 7},
      {.experts = 33, .top_k = 1},
      {.experts = 256, .top_k = 32},
      {.experts = 160, .top_k = 6, .groups = 8, .group_limit = 3}};
  for (const RouterOptions& options : cases) {
    for (int distinct : {3, 16, 1 << 20}) {
      CounterRandom random(5, "choose", static_cast<uint64_t>(options.experts));
      Tensor scores = Tensor::Empty({kRows, options.experts}, {});
      Tensor bias = Tensor::Empty({options.experts}, {});
      for (int64_t i = 0; i < scores.NumElements(); ++i) {
        scores.data<float>()[i] =
            static_cast<float>(random.Below(static_cast<uint64_t>(i), uint64_t(distinct)));
      }
      for (int e = 0; e < options.experts; ++e) bias.data<float>()[e] = float(e % 3);
      const Tensor indices = ChooseExperts(scores, bias, options);
      for (int64_t t = 0; t < kRows; ++t) {
        std::vector<float> value;
        for (int e = 0; e < options.experts; ++e) {
          value.push_back(scores.data<float>()[t * options.experts + e] + bias.data<float>()[e]);
        }
        const int32_t* row = indices.data<int32_t>() + t * options.top_k;
        ASSERT_EQ(std::vector<int32_t>(row, row + options.top_k), PlainChoice(value, options))
            << options.experts << " experts, row " << t;
      }
    }
  }
}

TEST(ChooseExperts, BrokenRowsStillGiveDifferentExperts) {
  constexpr int kExperts = 20, kTopK = 20;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Tensor scores = Tensor::Empty({2, kExperts}, {});
  for (int e = 0; e < kExperts; ++e) {
    scores.data<float>()[e] = nan;
    scores.data<float>()[kExperts + e] = e % 2 == 0 ? nan : -std::numeric_limits<float>::infinity();
  }
  scores.data<float>()[7] = 1;
  const Tensor indices = ChooseExperts(scores, {}, {.experts = kExperts, .top_k = kTopK});
  EXPECT_EQ(indices.data<int32_t>()[0], 7);
  for (int t = 0; t < 2; ++t) {
    std::vector<int32_t> row(indices.data<int32_t>() + t * kTopK,
                             indices.data<int32_t>() + (t + 1) * kTopK);
    std::sort(row.begin(), row.end());
    for (int e = 0; e < kExperts; ++e) EXPECT_EQ(row[static_cast<size_t>(e)], e);
  }
}

// Every score function over its whole range, with weights and bias, against the definition.
TEST(Route, AgainstTheDefinition) {
  constexpr int64_t kRows = 9, kExperts = 21;
  // Exponents are differences of up to 70, rounded.
  const double bound = ErrorBound(DType::kF32, kExperts) + 70 * UnitRoundoff(DType::kF32);
  for (ScoreFunction function :
       {ScoreFunction::kSigmoid, ScoreFunction::kSoftmax, ScoreFunction::kSqrtSoftplus}) {
    for (bool normalize : {false, true}) {
      const RouterOptions options{.experts = kExperts,
                                  .top_k = 5,
                                  .score = function,
                                  .normalize = normalize,
                                  .route_scale = 2.5};
      Tensor logits = Tensor::Empty({kRows, kExperts}, {});
      for (int64_t i = 0; i < logits.NumElements(); ++i) {
        logits.data<float>()[i] = static_cast<float>(i * 37 % 189) * 0.37f - 35;  // [-35, 35)
      }
      Tensor bias = Tensor::Empty({kExperts}, {});
      for (int e = 0; e < kExperts; ++e) bias.data<float>()[e] = 0.01f * static_cast<float>(e % 4);
      Tape tape(false);
      const Routing routing = Route(tape, tape.Input(logits), bias, options);
      for (int64_t t = 0; t < kRows; ++t) {
        const float* row = logits.data<float>() + t * kExperts;
        const std::vector<double> s =
            PlainScores(std::vector<double>(row, row + kExperts), function);
        for (int64_t e = 0; e < kExperts; ++e) {
          const double expected = s[static_cast<size_t>(e)];
          ASSERT_NEAR(static_cast<double>(routing.scores.tensor().data<float>()[t * kExperts + e]),
                      expected, bound * expected)
              << row[e];
        }
        const int32_t* chosen = routing.indices.tensor().data<int32_t>() + t * options.top_k;
        double sum = normalize ? 0 : 1;
        for (int k = 0; normalize && k < options.top_k; ++k) sum += s[size_t(chosen[k])];
        for (int k = 0; k < options.top_k; ++k) {
          const double expected = 2.5 * s[size_t(chosen[k])] / sum;
          ASSERT_NEAR(
              static_cast<double>(routing.weights.tensor().data<float>()[t * options.top_k + k]),
              expected, bound * expected);
        }
      }
    }
  }
}

// The slope of sqrt(softplus) is e^(x/2) / 2 far below zero and 1 / (2 sqrt(x)) far above; float32
// must not lose it to cancellation.
TEST(Route, SqrtSoftplusSlopeInTheTails) {
  const std::vector<float> x = {-60, -20, -5, -1, 0, 1, 5, 19.5f, 21, 80};
  const int experts = static_cast<int>(x.size());
  Tape tape;
  Var logits = tape.Input(Tensor::From<float>({1, experts}, x), true);
  const Routing routing = Route(
      tape, logits, {}, {.experts = experts, .top_k = 1, .score = ScoreFunction::kSqrtSoftplus});
  Tensor one = Tensor::Empty({1, experts}, {});
  for (float& v : one.span<float>()) v = 1;
  tape.RunBackward(routing.scores, one);
  for (size_t i = 0; i < x.size(); ++i) {
    const double v = static_cast<double>(x[i]);
    const double expected = 1 / (1 + std::exp(-v)) / (2 * std::sqrt(Softplus(v)));
    EXPECT_NEAR(static_cast<double>(logits.grad()->grad.data<float>()[i]), expected,
                ErrorBound(DType::kF32, 1) * expected)
        << v;
  }
}

// What was chosen is replayed: neither a changed bias nor recomputation can alter it.
TEST(Route, ABiasChangedAfterwardsChangesNothing) {
  auto gradient = [](bool recompute) {
    Tape tape;
    if (recompute)
      tape.SetRecomputePolicy([](std::string_view, int) { return TensorPolicy::kRecompute; });
    Tensor logits = Tensor::Empty({4, 8}, {});
    for (int64_t i = 0; i < 32; ++i) logits.data<float>()[i] = static_cast<float>(i * 11 % 32) / 9;
    Tensor bias = Tensor::Zeros({8}, {});
    Var x = tape.Input(logits, true);
    Var weights = Route(tape, x, bias, {.experts = 8, .top_k = 3}).weights;
    for (int e = 0; e < 8; ++e) bias.data<float>()[e] = static_cast<float>(10 * e);
    Tensor seed = Tensor::Empty({4, 3}, {});
    for (int64_t i = 0; i < 12; ++i) seed.data<float>()[i] = static_cast<float>(i);
    tape.RunBackward(weights, seed);
    EXPECT_EQ(tape.recomputed() > 0, recompute);
    const auto values = x.grad()->grad.span<float>();
    return std::vector<float>(values.begin(), values.end());
  };
  EXPECT_EQ(gradient(true), gradient(false));
}

TEST(RouteDeathTest, MoreChoicesThanTheGroupsHold) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Tape tape;
  Var logits = tape.Input(Tensor::Zeros({1, 8}, {}));
  EXPECT_DEATH(Route(tape, logits, {}, {.experts = 8, .top_k = 3, .groups = 4, .group_limit = 1}),
               "1 groups hold fewer than 3 experts");
}

}  // namespace
}  // namespace choir
