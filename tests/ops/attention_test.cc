#include "ops/attention.h"

#include <gtest/gtest.h>

#include <cstring>

#include "ops/attention_tiles.h"
#include "ops/elementwise.h"
#include "tensor/tolerance.h"
#include "tests/ops/attention_twin.h"
#include "tests/ops/op_case.h"

namespace choir {
namespace {

using Boundaries = std::vector<int32_t>;

std::shared_ptr<const Boundaries> Shared(const Boundaries& b) {
  return std::make_shared<const Boundaries>(b);
}

struct AttentionCase {
  const char* name;
  int64_t groups, heads, dim;
  Boundaries boundaries;
  double size = 1;  // of the inputs

  Shape shape() const { return {boundaries.back(), groups, heads + 2, dim}; }
  double scale() const { return 1 / std::sqrt(static_cast<double>(dim)); }
};

// For finite differences: small, and of sizes that make CheckOpCase sample all dims of all heads.
const AttentionCase kSmallCases[] = {
    {"one_document", 1, 1, 8, {0, 12}},
    {"one_token", 2, 1, 3, {0, 1}},
    {"no_token", 2, 1, 3, {0}},
    {"grouped_heads", 2, 3, 5, {0, 4, 13}},
    {"empty_and_short_documents", 2, 2, 4, {0, 0, 1, 2, 2, 4, 11, 12, 12}},
    {"past_a_tile_of_rows", 1, 3, 4, {0, 50}},
    {"wide_heads", 1, 1, 130, {0, 65}, 0.3},  // fewer rows in a tile
};

void CheckCase(const AttentionCase& c) {
  CheckOpCase({std::string("attention/") + c.name,
               {{c.shape(), false, c.size}},
               [&](Tape& tape, OpArguments& in) {
                 return std::vector<Var>{
                     CausalAttention(tape, in.var(0), Shared(c.boundaries), c.scale())};
               },
               c.boundaries.back() + c.dim});
}

TEST(CausalAttention, OpCases) {
  for (const AttentionCase& c : kSmallCases) {
    if (c.boundaries.back() > 0) CheckCase(c);
  }
}

// Past a chunk of keys, where sums run over several tiles and tasks.
TEST(CausalAttention, OpCaseOfSeveralChunks) {
  CheckCase({"chunks", 1, 1, 3, {0, 5, 5 + 2 * kTileKeys + 30}});
}

std::vector<int> DocumentOfToken(const Boundaries& boundaries) {
  std::vector<int> document;
  for (size_t i = 0; i + 1 < boundaries.size(); ++i) {
    document.resize(static_cast<size_t>(boundaries[i + 1]), static_cast<int>(i));
  }
  return document;
}

Tensor Attend(const Tensor& qkv, const AttentionCase& c) {
  Tape tape(false);
  return CausalAttention(tape, tape.Input(qkv), Shared(c.boundaries), c.scale()).tensor();
}

TEST(CausalAttention, EqualsTheFormula) {
  std::vector<AttentionCase> cases(std::begin(kSmallCases), std::end(kSmallCases));
  cases.push_back({"long", 1, 2, 16, {0, 3, 3 + 2 * kTileKeys + 1, 560, 700}});
  cases.push_back({"exactly_a_chunk", 2, 1, 16, {0, kTileKeys, 2 * kTileKeys}});
  cases.push_back({"many_heads", 1, 70, 4, {0, 9, 40}});  // one token has more rows than a tile
  cases.push_back({"large_scores", 1, 1, 8, {0, 40}, 10});
  for (const AttentionCase& c : cases) {
    SCOPED_TRACE(c.name);
    Tensor qkv = RandomTensor(c.shape(), c.name);
    ScaleInPlace(qkv, c.size);
    const auto expected = NaiveAttention(qkv, DocumentOfToken(c.boundaries), c.scale());
    const Tensor actual = Attend(qkv, c);
    ASSERT_EQ(actual.shape(), (Shape{c.boundaries.back(), c.groups * c.heads * c.dim}));
    // Scores of magnitude s carry an absolute error of s roundings into the exponent.
    const double bound = ErrorBound(DType::kF64, c.boundaries.back() + c.dim) * c.size *
                         std::max(1.0, c.size * c.size);
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(actual.data<double>()[i], expected[i], bound) << i;
    }
  }
}

TEST(CausalAttention, ScoresBeyondTheRangeOfExpAreFinite) {
  const AttentionCase c{"huge", 1, 1, 8, {0, 2 * kTileKeys}};
  Tensor qkv = RandomTensor(c.shape(), c.name);
  ScaleInPlace(qkv, 1e4);
  Tensor narrow = Tensor::Empty(qkv.shape(), {DType::kF32});
  ConvertInto(narrow, qkv);
  EXPECT_TRUE(AllFinite(Attend(narrow, c)));
}

struct Gradients {
  Tensor out, dqkv;
};

Gradients RunBoth(const Tensor& qkv, const Tensor& dout, const AttentionCase& c) {
  Tape tape;
  Var x = tape.Input(qkv, true);
  Var y = CausalAttention(tape, x, Shared(c.boundaries), c.scale());
  tape.RunBackward(y, dout);
  return {y.tensor(), x.grad()->grad};
}

bool SameRows(const Tensor& a, const Tensor& b, int64_t begin, int64_t end) {
  const Tensor x = a.Rows(begin, end - begin), y = b.Rows(begin, end - begin);
  return std::memcmp(x.raw(), y.raw(), static_cast<size_t>(x.bytes())) == 0;
}

TEST(CausalAttention, ADocumentsBitsDoNotDependOnItsNeighbours) {
  const AttentionCase c{"neighbours", 2, 2, 16, {0, 3, 10, 10, 10 + kTileKeys + 44, 420, 423}};
  const int64_t tokens = c.boundaries.back();
  const Tensor dout = RandomTensor({tokens, 64}, "dout");
  for (DType dtype : {DType::kF32, DType::kF64}) {
    auto converted = [&](const Tensor& t) {
      Tensor to = Tensor::Empty(t.shape(), {dtype});
      ConvertInto(to, t);
      return to;
    };
    const Tensor qkv = RandomTensor(c.shape(), "qkv");
    const Gradients before = RunBoth(converted(qkv), converted(dout), c);
    for (size_t changed = 0; changed + 1 < c.boundaries.size(); ++changed) {
      const int64_t begin = c.boundaries[changed], end = c.boundaries[changed + 1];
      if (begin == end) continue;
      Tensor moved = qkv.Clone();
      ScaleInPlace(moved.Rows(begin, end - begin), 1.5);
      const Gradients after = RunBoth(converted(moved), converted(dout), c);
      EXPECT_FALSE(SameRows(before.out, after.out, begin, end));
      EXPECT_TRUE(SameRows(before.out, after.out, 0, begin));
      EXPECT_TRUE(SameRows(before.out, after.out, end, tokens));
      EXPECT_TRUE(SameRows(before.dqkv, after.dqkv, 0, begin));
      EXPECT_TRUE(SameRows(before.dqkv, after.dqkv, end, tokens));
    }
    // Alone in a batch, too: tasks are bundled otherwise, the bits are the same.
    AttentionCase alone = c;
    alone.boundaries = {0, c.boundaries[4] - c.boundaries[3]};
    const Gradients one = RunBoth(converted(qkv.Rows(10, alone.boundaries[1]).Clone()),
                                  converted(dout.Rows(10, alone.boundaries[1]).Clone()), alone);
    const Tensor part = before.dqkv.Rows(10, alone.boundaries[1]);
    EXPECT_EQ(std::memcmp(part.raw(), one.dqkv.raw(), static_cast<size_t>(part.bytes())), 0);
  }
}

TEST(CausalAttention, LaterTokensChangeNothing) {
  const AttentionCase c{"causal", 1, 2, 16, {0, 100}};
  const Tensor qkv = RandomTensor(c.shape(), "causal");
  const Tensor before = Attend(qkv, c);
  Tensor moved = qkv.Clone();
  ScaleInPlace(moved.Rows(70, 30), -2);
  const Tensor after = Attend(moved, c);
  EXPECT_TRUE(SameRows(before, after, 0, 70));
  EXPECT_FALSE(SameRows(before, after, 70, 71));
}

TEST(CausalAttention, MemoryIsLinearInTokens) {
  auto peak = [](int32_t tokens) {
    MemoryLedger ledger;
    ScopedLedger scoped(Device::kMeta, ledger);
    Tape tape;
    Var x = tape.Input(Tensor::Empty({tokens, 4, 3, 64}, {DType::kF32, Device::kMeta}), true);
    Var y = CausalAttention(tape, x, Shared({0, tokens}), 0.125);
    tape.RunBackward(y, Tensor::Empty(y.shape(), y.tensor().options()));
    return ledger.PeakTotal();
  };
  EXPECT_EQ(peak(1 << 16), 16 * peak(1 << 12));
}

using CausalAttentionDeathTest = ::testing::Test;
TEST(CausalAttentionDeathTest, BoundariesMustCoverTheTokens) {
  const AttentionCase c{"bad", 1, 1, 4, {0, 5}};
  const Tensor qkv = RandomTensor(c.shape(), c.name);
  for (const Boundaries& bad :
       {Boundaries{}, Boundaries{0, 4}, Boundaries{1, 5}, Boundaries{0, 4, 3, 5}}) {
    AttentionCase wrong = c;
    wrong.boundaries = bad;
    EXPECT_DEATH(Attend(qkv, wrong), "CHECK failed");
  }
}

}  // namespace
}  // namespace choir
