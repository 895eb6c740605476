// A document cut into parts, each attended to by the later ones, against the document in one piece.
#include "ops/attention_blocks.h"

#include <gtest/gtest.h>

#include <cstring>

#include "ops/attention_tiles.h"
#include "ops/elementwise.h"
#include "ops/launch.h"
#include "ops/parallel_for.h"
#include "tensor/tolerance.h"
#include "tests/ops/attention_twin.h"
#include "tests/ops/op_case.h"

namespace choir {
namespace {

struct CutCase {
  const char* name;
  int64_t groups, heads, dim;
  std::vector<int32_t> cuts;  // one document; a repeated cut is a part without tokens
  bool packed = false;        // the keys lie in a tensor of their own

  int64_t tokens() const { return cuts.back(); }
  Shape shape() const { return {tokens(), groups, heads + 2, dim}; }
  double scale() const { return 1 / std::sqrt(static_cast<double>(dim)); }
};

std::vector<SeenBlock> BlocksOf(const CutCase& c) {
  std::vector<SeenBlock> blocks;
  for (size_t q = 1; q + 1 < c.cuts.size(); ++q) {
    for (size_t k = 0; k < q; ++k) {
      const SeenBlock b{c.cuts[q], c.cuts[q + 1] - c.cuts[q], c.cuts[k], c.cuts[k + 1] - c.cuts[k]};
      if (b.queries > 0 && b.keys > 0) blocks.push_back(b);
    }
  }
  return blocks;
}

// Copies the last two slots of [T, G, n, D] to those of `to`, [T, G, m, D], or adds them.
void CopyKeys(const Tensor& from, const Tensor& to, bool add) {
  Launch(from.device(), MemoryWork("copy_keys", from), [&] {
    DispatchFloat(from.dtype(), [&]<class T>() {
      const int64_t dim = from.dim(3), n = from.dim(2) * dim, m = to.dim(2) * dim;
      for (int64_t i = 0; i < from.dim(0) * from.dim(1); ++i) {
        for (int64_t d = 1; d <= 2 * dim; ++d) {
          T& x = to.data<T>()[(i + 1) * m - d];
          x = from.data<T>()[(i + 1) * n - d] + (add ? x : T(0));
        }
      }
    });
  });
}

BlockAttention AttentionOf(const CutCase& c, const Tensor& qkv) {
  Tensor keys = qkv;
  if (c.packed) {
    keys = Tensor::Empty(qkv.shape().With(2, 2), qkv.options());
    CopyKeys(qkv, keys, /*add=*/false);
  }
  return {qkv, keys, BlocksOf(c), c.scale(), nullptr};
}

AttentionResult Forward(const CutCase& c, const Tensor& qkv) {
  const AttentionResult result = AttendCausal(qkv, c.cuts, c.scale());
  AttendBlocks(AttentionOf(c, qkv), result);
  return result;
}

Tensor Backward(const CutCase& c, const AttentionGradient& in) {
  const BlockAttention blocks = AttentionOf(c, in.qkv);
  Tensor dqkv = AttendCausalBackward(in, c.cuts, c.scale());
  if (!c.packed) {
    AttendBlocksBackward(blocks, in, dqkv, dqkv);
    return dqkv;
  }
  const Tensor dkeys = Tensor::Zeros(blocks.keys.shape(), blocks.keys.options());
  AttendBlocksBackward(blocks, in, dqkv, dkeys);
  CopyKeys(dkeys, dqkv, /*add=*/true);
  return dqkv;
}

Var CutAttention(Tape& tape, const Var& qkv, const CutCase& c) {
  Saved xs = qkv.Save();
  std::vector<Var> results = tape.Compute({"attention", "attention.lse"}, [xs, c] {
    const AttentionResult r = Forward(c, xs.Get());
    return std::vector<Tensor>{r.out, r.lse};
  });
  Var out = results[0];
  Saved outs = out.Save(), lses = results[1].Save();
  tape.Record({&out}, [xs, outs, lses, c, gx = qkv.grad()](Sink& sink) {
    sink.Add(gx, Backward(c, {xs.Get(), outs.Get(), lses.Get(), sink.OutputGrad(0)}));
  });
  return out;
}

const CutCase kCases[] = {
    {"two_parts", 1, 1, 8, {0, 5, 12}},
    {"grouped_heads", 2, 3, 5, {0, 4, 13}, true},
    {"parts_of_one_token_and_none", 2, 2, 4, {0, 1, 1, 2, 9, 9, 12}},
    {"first_token_alone", 1, 2, 4, {0, 1, 11}, true},
    {"past_a_tile_of_rows", 1, 3, 4, {0, 20, 50}},
};
// Parts of several chunks, of different lengths.
const CutCase kChunks[] = {
    {"chunks", 1, 1, 3, {0, 2 * kTileKeys + 9, 3 * kTileKeys}},
    {"long_queries", 1, 2, 3, {0, 30, 40 + kTileKeys, 700}, true},
};

void CheckCase(const CutCase& c) {
  CheckOpCase({std::string("attention_blocks/") + c.name,
               {{c.shape()}},
               [&](Tape& tape, OpArguments& in) {
                 return std::vector<Var>{CutAttention(tape, in.var(0), c)};
               },
               c.tokens() + c.dim});
}

TEST(AttentionBlocks, OpCases) {
  for (const CutCase& c : kCases) CheckCase(c);
}

TEST(AttentionBlocks, OpCasesOfSeveralChunks) {
  for (const CutCase& c : kChunks) CheckCase(c);
}

Tensor Converted(const Tensor& x, DType dtype) {
  Tensor to = Tensor::Empty(x.shape(), {dtype});
  ConvertInto(to, x);
  return to;
}

double Largest(const Tensor& x) {
  double largest = 0;
  for (double v : x.span<double>()) largest = std::max(largest, std::abs(v));
  return largest;
}

void ExpectNear(const Tensor& actual, const Tensor& expected, double bound) {
  ASSERT_EQ(actual.shape(), expected.shape());
  const Tensor a = Converted(actual, DType::kF64), b = Converted(expected, DType::kF64);
  const double allowed = bound * Largest(b);
  for (int64_t i = 0; i < a.NumElements(); ++i) {
    ASSERT_NEAR(a.data<double>()[i], b.data<double>()[i], allowed) << i;
  }
}

struct Outcome {
  Tensor out, dqkv;
};

Outcome RunBoth(const Tensor& qkv, const Tensor& dout,
                const std::function<Var(Tape&, const Var&)>& op) {
  Tape tape;
  Var x = tape.Input(qkv, true);
  Var y = op(tape, x);
  tape.RunBackward(y, dout);
  return {y.tensor(), x.grad()->grad};
}

TEST(AttentionBlocks, EqualsTheWholeDocument) {
  std::vector<CutCase> cases(std::begin(kCases), std::end(kCases));
  cases.insert(cases.end(), std::begin(kChunks), std::end(kChunks));
  cases.push_back({"wide", 2, 2, 64, {0, 100, 300, 301, 600}, true});
  for (const CutCase& c : cases) {
    SCOPED_TRACE(c.name);
    const Tensor qkv = RandomTensor(c.shape(), "qkv");
    const Tensor dout = RandomTensor({c.tokens(), c.groups * c.heads * c.dim}, "dout");
    const auto whole = std::make_shared<const std::vector<int32_t>>(
        std::vector<int32_t>{0, static_cast<int32_t>(c.tokens())});
    for (DType dtype : {DType::kF64, DType::kF32}) {
      const Tensor x = Converted(qkv, dtype), dy = Converted(dout, dtype);
      const Outcome cut =
          RunBoth(x, dy, [&](Tape& t, const Var& v) { return CutAttention(t, v, c); });
      const Outcome one = RunBoth(
          x, dy, [&](Tape& t, const Var& v) { return CausalAttention(t, v, whole, c.scale()); });
      const auto parts = static_cast<int64_t>(c.cuts.size()) - 1;
      const double bound = ErrorBound(dtype, c.tokens() + c.dim + 7 * (parts - 1));
      ExpectNear(cut.out, one.out, bound);
      ExpectNear(cut.dqkv, one.dqkv, bound);
    }
  }
}

// Scores beyond the range of exp: a part's sum may be nothing beside another's.
TEST(AttentionBlocks, LargeScoresStayFinite) {
  const CutCase c{"huge", 1, 1, 8, {0, 40, 80}};
  Tensor qkv = RandomTensor(c.shape(), c.name);
  ScaleInPlace(qkv, 1e4);
  const AttentionResult r = Forward(c, Converted(qkv, DType::kF32));
  EXPECT_TRUE(AllFinite(r.out));
  EXPECT_TRUE(AllFinite(r.lse));
}

TEST(AttentionBlocks, PollsBetweenTasks) {
  const CutCase c{"polled", 2, 1, 4, {0, 500, 1000}};
  const Tensor qkv = RandomTensor(c.shape(), c.name);
  int polls = 0;
  BlockAttention blocks = AttentionOf(c, qkv);
  blocks.poll = [&polls] { ++polls; };
  const AttentionResult polled = AttendCausal(qkv, c.cuts, c.scale());
  SetNumThreads(1);
  AttendBlocks(blocks, polled);
  SetNumThreads(0);
  const int64_t tasks = 2 * ((500 + kTileRows - 1) / kTileRows);
  EXPECT_EQ(polls, (tasks + 7) / 8);
  const AttentionResult plain = Forward(c, qkv);
  EXPECT_EQ(std::memcmp(polled.out.raw(), plain.out.raw(), static_cast<size_t>(plain.out.bytes())),
            0);
}

TEST(AttentionBlocksDeathTest, BlocksMustLieInTheirTensors) {
  const CutCase c{"bad", 1, 1, 4, {0, 3, 5}};
  const Tensor qkv = RandomTensor(c.shape(), c.name);
  const AttentionResult result = AttendCausal(qkv, c.cuts, c.scale());
  BlockAttention blocks = AttentionOf(c, qkv);
  blocks.blocks = {{3, 2, 3, 3}};
  EXPECT_DEATH(AttendBlocks(blocks, result), "CHECK failed");
  blocks.blocks = {{3, 2, 0, 3}, {3, 1, 0, 3}};
  EXPECT_DEATH(AttendBlocks(blocks, result), "from row 3");
}

}  // namespace
}  // namespace choir
