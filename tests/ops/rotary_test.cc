#include "ops/rotary.h"

#include <gtest/gtest.h>

#include <complex>
#include <numbers>

#include "tensor/tolerance.h"
#include "tests/ops/attention_twin.h"
#include "tests/ops/op_case.h"
#include "tests/ops/rank_threads.h"

namespace choir {
namespace {

constexpr RotaryStyle kStyles[] = {RotaryStyle::kAdjacentPairs, RotaryStyle::kHalfSplit};

YarnOptions Yarn(double factor) { return {.factor = factor, .original_length = 64}; }

struct PrepareCase {
  std::string name;
  Shape shape;
  RotaryOptions rotary;
  bool q_norm = false, k_norm = false;
};

void CheckCase(const PrepareCase& c) {
  std::vector<int32_t> positions;
  for (int64_t t = 0; t < c.shape.dim(0); ++t) positions.push_back(static_cast<int32_t>(t * 7 % 5));
  const int64_t dim = c.shape.dim(3);
  const RotaryTable table(c.rotary);
  OpInput weight{.shape = {dim}, .parameter = true, .offset = 1};
  CheckOpCase({"prepare_qkv/" + c.name,
               {{c.shape}, {.shape = {c.shape.dim(0)}, .integers = positions}, weight, weight},
               [&](Tape& tape, OpArguments& in) {
                 QkNorm norm{.eps = 1e-5};
                 if (c.q_norm) norm.q = &in.parameter(2);
                 if (c.k_norm) norm.k = &in.parameter(3);
                 return std::vector<Var>{PrepareQkv(tape, in.var(0), norm, table, in.tensor(1))};
               },
               dim + c.shape.dim(0) * c.shape.dim(1) * c.shape.dim(2)});
}

// CheckOpCase differentiates every n-th element; these sizes make n prime to the head: all dims.
TEST(PrepareQkv, OpCases) {
  for (RotaryStyle style : kStyles) {
    const std::string s = style == RotaryStyle::kHalfSplit ? "_half" : "_adjacent";
    CheckCase({"plain" + s, {4, 2, 3, 32}, {.dims = 32, .style = style}});
    CheckCase({"norm" + s, {4, 2, 4, 8}, {.dims = 8, .style = style}, true, true});
    CheckCase({"partial" + s, {3, 1, 5, 11}, {.dims = 6, .style = style}, true, true});
    CheckCase({"q_norm_only" + s, {3, 1, 3, 6}, {.dims = 4, .style = style}, true, false});
    CheckCase({"yarn" + s, {4, 1, 3, 10}, {.dims = 10, .style = style, .yarn = Yarn(8)}});
    CheckCase({"blocks_of_tokens" + s, {70, 1, 3, 4}, {.dims = 4, .style = style}, true, true});
  }
  CheckCase({"no_rotation", {3, 2, 3, 5}, {.dims = 0}, true, true});
}

Tensor Prepare(const Tensor& qkv, const RotaryOptions& options,
               const std::vector<int32_t>& positions, const QkNorm& norm = {}) {
  Tape tape(false);
  return PrepareQkv(tape, tape.Input(qkv), norm, RotaryTable(options), IntTensor(positions))
      .tensor();
}

// As its definition: pairs are complex numbers, multiplied by e^(i * position * frequency).
TEST(PrepareQkv, EqualsComplexMultiplication) {
  const std::vector<int32_t> positions = {0, 1, 255, 256, 70000, 2147483647};
  const int64_t groups = 2, slots = 4, dim = 12, rotated = 8;
  const Tensor qkv = RandomTensor({6, groups, slots, dim}, "complex");
  for (RotaryStyle style : kStyles) {
    const Tensor actual =
        Prepare(qkv, {.base = 500, .dims = static_cast<int>(rotated), .style = style}, positions);
    for (int64_t row = 0; row < 6 * groups * slots; ++row) {
      const double* x = qkv.data<double>() + row * dim;
      const double* y = actual.data<double>() + row * dim;
      const int32_t position = positions[static_cast<size_t>(row / (groups * slots))];
      // The angle itself is rounded: up to 2^31 radians, in units of 2^-53 of it.
      const double bound = 4 * ErrorBound(DType::kF64, 1) * (1.0 + position);
      for (int64_t i = 0; i < rotated / 2; ++i) {
        const bool adjacent = style == RotaryStyle::kAdjacentPairs;
        const int64_t re = adjacent ? 2 * i : i, im = adjacent ? 2 * i + 1 : i + rotated / 2;
        const double angle = position * std::pow(500.0, -2.0 * static_cast<double>(i) / rotated);
        std::complex<double> expected(x[re], x[im]);
        if (row % slots != slots - 1) expected *= std::polar(1.0, angle);
        EXPECT_NEAR(y[re], expected.real(), bound);
        EXPECT_NEAR(y[im], expected.imag(), bound);
      }
      for (int64_t d = rotated; d < dim; ++d) EXPECT_EQ(y[d], x[d]);
    }
  }
}

TEST(PrepareQkv, NormalisesBeforeTurning) {
  const Tensor qkv = RandomTensor({2, 1, 4, 10}, "norm");
  Parameter q = MakeParameter({10}, "q"), k = MakeParameter({10}, "k");
  const Tensor actual = Prepare(qkv, {.dims = 4}, {0, 0}, {&q, &k, 1e-3});  // position 0: no turn
  for (int64_t row = 0; row < 8; ++row) {
    const double* x = qkv.data<double>() + row * 10;
    double square = 0;
    for (int d = 0; d < 10; ++d) square += x[d] * x[d] / 10;
    const Tensor& w = row % 4 == 2 ? k.value : q.value;
    for (int d = 0; d < 10; ++d) {
      const double expected =
          row % 4 == 3 ? x[d] : x[d] / std::sqrt(square + 1e-3) * w.data<double>()[d];
      EXPECT_NEAR(actual.data<double>()[row * 10 + d], expected, 4 * ErrorBound(DType::kF64, 10));
    }
  }
}

double QueryDotKey(const Tensor& prepared, int64_t query, int64_t key) {
  const int64_t dim = prepared.dim(3);
  double sum = 0;
  for (int64_t d = 0; d < dim; ++d) {
    sum += prepared.data<double>()[(query * 3 + 0) * dim + d] *
           prepared.data<double>()[(key * 3 + 1) * dim + d];
  }
  return sum;
}

// Scores depend on the distance alone (Su et al. 2021, equation 16).
TEST(PrepareQkv, ScoresDependOnTheDistanceAlone) {
  const Tensor qkv = RandomTensor({2, 1, 3, 16}, "relative");
  for (RotaryStyle style : kStyles) {
    const RotaryOptions options{.dims = 16, .style = style};
    const double near = QueryDotKey(Prepare(qkv, options, {9, 2}), 0, 1);
    const double far = QueryDotKey(Prepare(qkv, options, {1009, 1002}), 0, 1);
    const double other = QueryDotKey(Prepare(qkv, options, {10, 2}), 0, 1);
    EXPECT_NEAR(near, far, 16 * 1009 * ErrorBound(DType::kF64, 16));
    EXPECT_GT(std::abs(near - other), 1e-3);
  }
}

// Moving the halves' dims next to each other turns one style into the other.
TEST(PrepareQkv, StylesDifferByAPermutationOfDims) {
  const Tensor adjacent = RandomTensor({3, 1, 3, 8}, "styles");
  Tensor half = Tensor::Empty(adjacent.shape(), adjacent.options());
  auto position = [](int64_t d) { return d % 2 == 0 ? d / 2 : 4 + d / 2; };
  for (int64_t i = 0; i < adjacent.NumElements(); ++i) {
    half.data<double>()[i / 8 * 8 + position(i % 8)] = adjacent.data<double>()[i];
  }
  const Tensor a = Prepare(adjacent, {.dims = 8, .style = kStyles[0]}, {3, 0, 77});
  const Tensor b = Prepare(half, {.dims = 8, .style = kStyles[1]}, {3, 0, 77});
  for (int64_t i = 0; i < a.NumElements(); ++i) {
    EXPECT_DOUBLE_EQ(a.data<double>()[i], b.data<double>()[i / 8 * 8 + position(i % 8)]);
  }
}

// Groups [begin, end) of [T, G, R + 2, D].
Tensor Groups(const Tensor& qkv, int64_t begin, int64_t end) {
  const int64_t group = qkv.dim(2) * qkv.dim(3);
  Tensor part = Tensor::Empty(qkv.shape().With(1, end - begin), {});
  for (int64_t t = 0; t < qkv.dim(0); ++t) {
    std::copy_n(qkv.data<float>() + (t * qkv.dim(1) + begin) * group, (end - begin) * group,
                part.data<float>() + t * (end - begin) * group);
  }
  return part;
}

struct QkvParts {
  std::vector<Tensor> y, dx;  // by part of the groups, then of the tokens
  std::vector<GradTree::Node> dq, dk;
};

constexpr int64_t kTokens = 37;

// Runs 3 groups dealt to `head_ranks`, tokens dealt to `token_ranks`.
QkvParts RunParts(const Tensor& qkv, const Tensor& dy, int head_ranks, int token_ranks) {
  const Tensor wq = RandomFloats({qkv.dim(3)}, "wq"), wk = RandomFloats({qkv.dim(3)}, "wk");
  std::vector<int32_t> positions;
  for (int32_t t = 0; t < kTokens; ++t) positions.push_back(t * 5 % 31);
  const Tensor all_positions = IntTensor(positions);
  const RotaryTable table({.dims = 6});
  QkvParts parts;
  for (int h = 0; h < head_ranks; ++h) {
    const PiecePart groups = PartOfPieces(qkv.dim(1), head_ranks, h);
    for (int r = 0; r < token_ranks; ++r) {
      const TokenPart tokens = PartOfTokens(kTokens, token_ranks, r);
      Parameter q = FloatParameter(wq, OneMicrobatch(kVirtualPieces * kVirtualPieces));
      Parameter k = FloatParameter(wk, OneMicrobatch(kVirtualPieces * kVirtualPieces));
      Tape tape;
      tokens.SetUp(tape);
      Var x = tape.Input(Groups(tokens.Of(qkv), groups.begin, groups.end), true);
      const QkvOptions options{.group_pieces = groups.pieces,
                               .first_piece = groups.first_piece,
                               .token_leaves = kVirtualPieces};
      Var y = PrepareQkv(tape, x, {&q, &k, 1e-5}, table, tokens.Of(all_positions), options);
      tape.RunBackward(y, Groups(tokens.Of(dy), groups.begin, groups.end));
      EXPECT_EQ(q.pending + k.pending, 0);
      parts.y.push_back(y.tensor());
      parts.dx.push_back(x.grad()->grad);
      for (auto& node : q.tree->Take()) parts.dq.push_back(node);
      for (auto& node : k.tree->Take()) parts.dk.push_back(node);
    }
  }
  return parts;
}

TEST(PrepareQkv, PartsOfGroupsAndTokens) {
  for (int64_t groups : {int64_t{3}, int64_t{8}}) {
    const Tensor qkv = RandomFloats({kTokens, groups, 4, 11}, "qkv");
    const Tensor dy = RandomFloats(qkv.shape(), "dy");
    const QkvParts whole = RunParts(qkv, dy, 1, 1);
    for (const auto& [head_ranks, token_ranks] :
         {std::pair(2, 1), std::pair(4, 1), std::pair(8, 1), std::pair(1, 4), std::pair(4, 2)}) {
      SCOPED_TRACE(std::to_string(head_ranks) + " x " + std::to_string(token_ranks));
      const QkvParts parts = RunParts(qkv, dy, head_ranks, token_ranks);
      // Head pieces are outermost: a part of the groups is one subtree.
      for (size_t h = 0; token_ranks == 1 && h < parts.dq.size(); ++h) {
        ASSERT_EQ(parts.dq.size(), static_cast<size_t>(head_ranks));
        EXPECT_EQ(1 << parts.dq[h].level, head_ranks);
        EXPECT_EQ(parts.dq[h].index, static_cast<int64_t>(h));
      }
      ExpectSameBits(JoinNodes(parts.dq), JoinNodes(whole.dq));
      ExpectSameBits(JoinNodes(parts.dk), JoinNodes(whole.dk));
      for (int h = 0; h < head_ranks; ++h) {
        const PiecePart part = PartOfPieces(groups, head_ranks, h);
        for (int r = 0; r < token_ranks; ++r) {
          const TokenPart tokens = PartOfTokens(kTokens, token_ranks, r);
          const auto i = static_cast<size_t>(h * token_ranks + r);
          ExpectSameBits(parts.y[i], Groups(tokens.Of(whole.y[0]), part.begin, part.end));
          ExpectSameBits(parts.dx[i], Groups(tokens.Of(whole.dx[0]), part.begin, part.end));
        }
      }
    }
    Parameter q = FloatParameter(RandomFloats({11}, "wq"), nullptr);
    Parameter k = FloatParameter(RandomFloats({11}, "wk"), nullptr);
    std::vector<int32_t> positions;
    for (int32_t t = 0; t < kTokens; ++t) positions.push_back(t * 5 % 31);
    Tape tape;
    Var y = PrepareQkv(tape, tape.Input(qkv, true), {&q, &k, 1e-5}, RotaryTable({.dims = 6}),
                       IntTensor(positions));
    tape.RunBackward(y, dy);
    ExpectSameBits(y.tensor(), whole.y[0]);
    const double bound = 2 * ErrorBound(DType::kF32, kTokens * groups * 2);
    ExpectWithin(JoinNodes(whole.dq), q.grad, bound);
    ExpectWithin(JoinNodes(whole.dk), k.grad, bound);
  }
}

TEST(PrepareQkvDeathTest, PiecesWithoutAPlace) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const Tensor qkv = RandomFloats({2, 3, 3, 4}, "qkv");
  Tape tape;
  tape.SetNumerics(Numerics::kInvariant);
  const Var x = tape.Input(qkv);
  const RotaryTable table({.dims = 4});
  const Tensor positions = IntTensor({0, 1});
  EXPECT_DEATH(
      PrepareQkv(tape, x, {}, table, positions, {.group_pieces = PartOfPieces(3, 1, 0).pieces}),
      "a place in the tree");
  EXPECT_DEATH(PrepareQkv(tape, x, {}, table, positions,
                          {.group_pieces = PartOfPieces(4, 1, 0).pieces, .token_leaves = 1}),
               "other groups than the 3 here");
}

TEST(RotaryTable, YarnAtFactorOneIsPlainRotary) {
  const RotaryTable plain({.dims = 32});
  const RotaryTable yarn({.dims = 32, .yarn = Yarn(1)});
  EXPECT_EQ(yarn.mscale(), 1);
  for (size_t i = 0; i < 16; ++i) {
    EXPECT_DOUBLE_EQ(yarn.inverse_frequencies()[i], plain.inverse_frequencies()[i]);
  }
}

TEST(RotaryTable, YarnSlowsLowFrequenciesOnly) {
  const RotaryOptions options{.dims = 64,
                              .yarn = YarnOptions{.factor = 40, .original_length = 4096}};
  const RotaryTable table(options);
  EXPECT_DOUBLE_EQ(table.mscale(), 0.1 * std::log(40.0) + 1);
  int blended = 0;
  for (int i = 0; i < 32; ++i) {
    const double plain = std::pow(10000.0, -2.0 * i / 64);
    const double turns = 4096 * plain / (2 * std::numbers::pi);
    const double ratio = table.inverse_frequencies()[static_cast<size_t>(i)] / plain;
    // One index of slack, because the ramp starts and ends at whole indices.
    if (turns > 32 * 1.34) {
      EXPECT_DOUBLE_EQ(ratio, 1) << i;
    }
    if (turns < 1 / 1.34) {
      EXPECT_DOUBLE_EQ(ratio, 1.0 / 40) << i;
    }
    blended += ratio < 1 - 1e-9 && ratio > (1 + 1e-9) / 40;
  }
  // By hand: 64 ln(4096 / (32 * 2 pi)) / (2 ln 10000) = 10.47 and, for one turn, 22.51: the ramp
  // runs from 10 to 23.
  EXPECT_EQ(blended, 12);
  EXPECT_NEAR(table.inverse_frequencies()[15] / std::pow(10000.0, -30.0 / 64),
              5.0 / 13 / 40 + 8.0 / 13, 1e-12);
}

TEST(RotaryTable, MscaleMultipliesCosAndSin) {
  RotaryOptions options{.dims = 8, .yarn = Yarn(4)};
  options.yarn->mscale = 2.5;
  std::vector<double> cos(4), sin(4);
  RotaryTable(options).CosSin(1000, cos, sin);
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(std::hypot(cos[i], sin[i]), 2.5, 1e-14);
}

TEST(RotaryTableDeathTest, BadOptionsAndPositions) {
  EXPECT_DEATH(RotaryTable({.dims = 3}), "in pairs");
  const RotaryTable table({.dims = 4});
  double c[2], s[2];
  EXPECT_DEATH(table.CosSin(-1, c, s), "rotary position");
}

}  // namespace
}  // namespace choir
