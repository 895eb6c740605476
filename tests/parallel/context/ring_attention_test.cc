// Attention on a ring of ranks that are threads, against one rank.
#include "parallel/context/ring_attention.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/attention.h"
#include "ops/elementwise.h"
#include "ops/grad_tree.h"
#include "ops/parallel_for.h"
#include "parallel/comm/local_world.h"
#include "tensor/tolerance.h"
#include "tests/ops/attention_twin.h"

namespace choir {
namespace {

struct RingCase {
  const char* name;
  TokenGrid grid;
  int64_t groups, heads, dim;
  std::vector<int32_t> documents;

  Shape shape() const { return {grid.total(), groups, heads + 2, dim}; }
  double scale() const { return 1 / std::sqrt(static_cast<double>(dim)); }
  std::shared_ptr<const std::vector<int32_t>> boundaries() const {
    return std::make_shared<const std::vector<int32_t>>(documents);
  }
};

const RingCase kCases[] = {
    {"one_document", {1, 48}, 1, 1, 8, {0, 48}},
    {"sequences_and_groups", {3, 40}, 2, 3, 5, {0, 40, 51, 80, 80, 100, 119, 120}},
    {"documents_at_borders", {1, 24}, 2, 2, 4, {0, 6, 12, 18, 24}},
    {"nothing_crosses", {2, 24}, 1, 2, 4, {0, 3, 6, 8, 9, 12, 15, 16, 18, 21, 24, 48}},
    {"lengths_that_do_not_divide", {2, 37}, 1, 2, 4, {0, 1, 37, 50, 74}},
    {"ranks_without_tokens", {1, 3}, 2, 2, 4, {0, 3}},
    {"no_groups", {1, 24}, 0, 2, 4, {0, 24}},
    {"several_chunks", {1, 1400}, 1, 2, 16, {0, 100, 1390, 1400}},
};

struct Outcome {
  Tensor out, dqkv;
  int64_t recomputed = 0;
};

Tensor Converted(const Tensor& x, DType dtype) {
  Tensor to = Tensor::Empty(x.shape(), {dtype});
  ConvertInto(to, x);
  return to;
}

Outcome RunBoth(const Tensor& qkv, const Tensor& dout, bool recompute,
                const std::function<Var(Tape&, const Var&)>& attend) {
  Tape tape;
  if (recompute)
    tape.SetRecomputePolicy([](std::string_view, int) { return TensorPolicy::kRecompute; });
  Var x = tape.Input(qkv, true);
  Var y = attend(tape, x);
  tape.RunBackward(y, dout);
  return {y.tensor(), x.grad()->grad, tape.recomputed()};
}

Outcome OneRank(const RingCase& c, const Tensor& qkv, const Tensor& dout) {
  return RunBoth(qkv, dout, false, [&](Tape& tape, const Var& x) {
    return CausalAttention(tape, x, c.boundaries(), c.scale());
  });
}

// All ranks' rows, each in its place in the whole.
Outcome OnRing(const RingCase& c, int ranks, const Tensor& qkv, const Tensor& dout) {
  Outcome whole{Tensor::Empty(dout.shape(), dout.options()),
                Tensor::Empty(qkv.shape(), qkv.options())};
  const LeafTree tree(1, kVirtualPieces);
  const absl::Status status = RunLocal(ranks, {.check = true, .timeout_s = 60}, [&](World& world) {
    const Place place(Mesh({.context = ranks}), &world, Numerics::kFast, ContextMethod::kRing);
    const TokenPlan plan = PlanTokens(place, c.grid, tree, 0);
    const ContextAttentionInput input{c.boundaries(), c.scale(), &plan};
    const Outcome mine =
        RunBoth(TakeRows(qkv, plan.here), TakeRows(dout, plan.here), false,
                [&](Tape& tape, const Var& x) { return ContextAttention(tape, x, input, place); });
    for (const RowRun& run : plan.here) {
      whole.out.Rows(run.begin, run.count).CopyFrom(mine.out.Rows(run.here, run.count));
      whole.dqkv.Rows(run.begin, run.count).CopyFrom(mine.dqkv.Rows(run.here, run.count));
    }
  });
  EXPECT_TRUE(status.ok()) << status;
  return whole;
}

void ExpectNear(const Tensor& actual, const Tensor& expected, double bound) {
  ASSERT_EQ(actual.shape(), expected.shape());
  const Tensor a = Converted(actual, DType::kF64), b = Converted(expected, DType::kF64);
  double largest = 0;
  for (double v : b.span<double>()) largest = std::max(largest, std::abs(v));
  for (int64_t i = 0; i < a.NumElements(); ++i) {
    ASSERT_NEAR(a.data<double>()[i], b.data<double>()[i], bound * largest) << i;
  }
}

TEST(RingAttentionThreadTest, EqualsOneRank) {
  SetNumThreads(1);
  for (const RingCase& c : kCases) {
    SCOPED_TRACE(c.name);
    const Tensor qkv = RandomTensor(c.shape(), "qkv");
    const Tensor dout = RandomTensor({c.grid.total(), c.groups * c.heads * c.dim}, "dout");
    for (DType dtype : {DType::kF64, DType::kF32}) {
      const Tensor x = Converted(qkv, dtype), dy = Converted(dout, dtype);
      const Outcome one = OneRank(c, x, dy);
      for (int ranks : {2, 3, 4}) {
        SCOPED_TRACE(ranks);
        const Outcome ring = OnRing(c, ranks, x, dy);
        // Seven more roundings for each part of a document but the own
        // (docs/parallelism.md, the bound of fast mode).
        const double bound = ErrorBound(dtype, c.grid.length + c.dim + 7 * (2 * ranks - 1));
        ExpectNear(ring.out, one.out, bound);
        ExpectNear(ring.dqkv, one.dqkv, bound);
      }
    }
  }
  SetNumThreads(0);
}

// The same runs twice give the same bits, and so does recomputing everything.
TEST(RingAttentionThreadTest, RecomputingAndRepeatingChangeNoBit) {
  SetNumThreads(1);
  const RingCase& c = kCases[1];
  const Tensor qkv = RandomTensor(c.shape(), "qkv");
  const Tensor dout = RandomTensor({c.grid.total(), c.groups * c.heads * c.dim}, "dout");
  const LeafTree tree(1, kVirtualPieces);
  const absl::Status status = RunLocal(3, {.check = true, .timeout_s = 60}, [&](World& world) {
    const Place place(Mesh({.context = 3}), &world, Numerics::kFast, ContextMethod::kRing);
    const TokenPlan plan = PlanTokens(place, c.grid, tree, 0);
    const ContextAttentionInput input{c.boundaries(), c.scale(), &plan};
    std::vector<Outcome> outcomes;
    for (bool recompute : {false, false, true}) {
      outcomes.push_back(RunBoth(TakeRows(qkv, plan.here), TakeRows(dout, plan.here), recompute,
                                 [&](Tape& tape, const Var& x) {
                                   // Nothing keeps the terms, so that backward has to make them
                                   // again.
                                   return Add(tape, ContextAttention(tape, x, input, place),
                                              ContextAttention(tape, x, input, place));
                                 }));
    }
    for (const Outcome& o : {outcomes[1], outcomes[2]}) {
      for (const auto& [a, b] :
           {std::pair(o.out, outcomes[0].out), std::pair(o.dqkv, outcomes[0].dqkv)}) {
        EXPECT_EQ(std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())), 0);
      }
    }
    EXPECT_EQ(outcomes[0].recomputed, 0);
    EXPECT_GT(outcomes[2].recomputed, 0);
  });
  EXPECT_TRUE(status.ok()) << status;
  SetNumThreads(0);
}

// Bytes that a rank sends for keys and gradients.
int64_t BytesSent(const RingCase& c, int ranks, int rank) {
  int64_t sent = 0;
  const LeafTree tree(1, kVirtualPieces);
  const Tensor qkv = Converted(RandomTensor(c.shape(), "qkv"), DType::kF32);
  const absl::Status status = RunLocal(ranks, {.timeout_s = 60}, [&](World& world) {
    const Place place(Mesh({.context = ranks}), &world, Numerics::kFast, ContextMethod::kRing);
    const TokenPlan plan = PlanTokens(place, c.grid, tree, 0);
    const ContextAttentionInput input{c.boundaries(), c.scale(), &plan};
    const Tensor dout = Tensor::Zeros({NumRows(plan.here), c.groups * c.heads * c.dim}, {});
    RunBoth(TakeRows(qkv, plan.here), dout, false,
            [&](Tape& tape, const Var& x) { return ContextAttention(tape, x, input, place); });
    if (world.rank() != rank) return;
    for (const CommCount& count : world.Counts()) sent += count.bytes_sent;
  });
  EXPECT_TRUE(status.ok()) << status;
  return sent;
}

// docs/parallelism.md: 6 share(c) G D 4 T / t, less the last piece of a document, which nobody else
// sees.
TEST(RingAttentionThreadTest, BytesAreThoseOfTheFormula) {
  SetNumThreads(1);
  const RingCase c{"bytes", {1, 64}, 2, 3, 4, {0, 64}};
  const int64_t token = 2 * c.groups * c.dim * 4;  // a key and a value
  // Two ranks: each sends its keys twice and returns the other's gradients.
  EXPECT_EQ(BytesSent(c, 2, 0), 2 * 16 * token + 32 * token);
  EXPECT_EQ(BytesSent(c, 2, 1), 2 * 32 * token + 16 * token);
  const RingCase apart{"apart", {1, 64}, 2, 3, 4, {0, 16, 40, 48, 64}};
  EXPECT_EQ(BytesSent(apart, 2, 0), 0);
  SetNumThreads(0);
}

}  // namespace
}  // namespace choir
