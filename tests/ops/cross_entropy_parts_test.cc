// The head and its loss where ranks hold parts of the vocabulary, and the fixed orders of sums.
#include <gtest/gtest.h>

#include "ops/cross_entropy.h"
#include "ops/parallel_for.h"
#include "tensor/tolerance.h"
#include "tests/ops/op_case.h"
#include "tests/ops/rank_threads.h"

namespace choir {
namespace {

constexpr int64_t kTokens = 37, kWidth = 24;
constexpr double kScale = 0.3, kSeed = 0.5;

struct Problem {
  Tensor h, head, labels;

  explicit Problem(int64_t vocabulary)
      : h(RandomFloats({kTokens, kWidth}, "h")), head(RandomFloats({vocabulary, kWidth}, "head")) {
    std::vector<int32_t> label;
    for (int64_t t = 0; t < kTokens; ++t) {
      label.push_back(t % 7 == 3 ? -1 : static_cast<int32_t>(t * 613 % vocabulary));
    }
    labels = Tensor::From<int32_t>({kTokens}, label);
  }
  int64_t vocabulary() const { return head.dim(0); }
};

struct Result {
  Tensor loss, token_nll, dh, dhead;  // dhead: in fast mode
  std::vector<GradTree::Node> nodes;  // in invariant mode
  int calls = 0;
};

struct RunOptions {
  bool invariant = true, recompute = false, defer = false;
  int64_t chunk_rows = 0;
  TokenPart tokens = PartOfTokens(kTokens, 1, 0);
};

Result RunPart(const Problem& problem, const RunOptions& run, const PiecePart& part,
               ThreadGroup* group) {
  const Tensor value = problem.head.Rows(part.begin, part.end - part.begin).Clone();
  Parameter head = FloatParameter(value, run.invariant ? OneMicrobatch() : nullptr);
  Tape tape;
  if (run.invariant) run.tokens.SetUp(tape);
  if (run.recompute)
    tape.SetRecomputePolicy([](std::string_view, int) { return TensorPolicy::kRecompute; });
  Var h = tape.Input(run.tokens.Of(problem.h), true);
  const CrossEntropyOptions options{.z_loss = 0.1,
                                    .chunk_rows = run.chunk_rows,
                                    .first_row = part.begin,
                                    .vocabulary = problem.vocabulary(),
                                    .vocabulary_group = group,
                                    .vocabulary_pieces = part.pieces};
  Result result;
  {
    const CrossEntropyResult out =
        CrossEntropy(tape, h, head, run.tokens.Of(problem.labels), kScale, options);
    result.loss = out.loss.tensor();
    result.token_nll = out.token_nll.tensor();
    WeightGradQueue queue;
    if (run.defer) tape.DeferWeightGrads(&queue);
    tape.RunBackward(out.loss, ScalarTensor(kSeed, {}));
    for (auto& work : queue) work();
  }
  EXPECT_EQ(head.pending, 0);
  if (group != nullptr) {
    result.calls = group->calls();
    group->Sum(h.grad()->grad);
  }
  result.dh = h.grad()->grad;
  if (run.invariant) {
    result.nodes = head.tree->Take();
  } else {
    result.dhead = head.grad;
  }
  return result;
}

Result RunWhole(const Problem& problem, const RunOptions& run) {
  return RunPart(problem, run, PartOfPieces(problem.vocabulary(), 1, 0), nullptr);
}

// By rank. Where the ranks do not divide the pieces, there are none (fast mode).
std::vector<Result> RunParts(const Problem& problem, const RunOptions& run, int ranks) {
  std::vector<Result> results(static_cast<size_t>(ranks));
  SetNumThreads(1);
  RunRanks(ranks, [&](int rank, ThreadGroup& group) {
    const int64_t n = problem.vocabulary();
    const PiecePart part =
        kVirtualPieces % ranks == 0
            ? PartOfPieces(n, ranks, rank)
            : PiecePart{PieceBegin(n, ranks, rank), PieceBegin(n, ranks, rank + 1), 0, nullptr};
    results[static_cast<size_t>(rank)] = RunPart(problem, run, part, &group);
  });
  SetNumThreads(0);
  return results;
}

// Every rank's tree is over the rows of the head that it has.
Tensor JoinHead(const std::vector<Result>& results) {
  std::vector<Tensor> parts;
  for (const Result& r : results) {
    parts.push_back(r.dhead.defined() ? r.dhead : JoinNodes(r.nodes));
  }
  return JoinRows(parts);
}

void ExpectSameResult(const Result& actual, const Result& expected) {
  ExpectSameBits(actual.loss, expected.loss);
  ExpectSameBits(actual.token_nll, expected.token_nll);
  ExpectSameBits(actual.dh, expected.dh);
}

// A vocabulary that does not divide, and one with fewer rows than ranks.
TEST(CrossEntropyParts, InvariantOnAnyPartsOfTheVocabulary) {
  for (int64_t vocabulary : {int64_t{1030}, int64_t{5}}) {
    const Problem problem(vocabulary);
    const Result whole = RunWhole(problem, {});
    for (int ranks : {2, 4, 8}) {
      SCOPED_TRACE(std::to_string(ranks) + " ranks of " + std::to_string(vocabulary));
      const std::vector<Result> parts = RunParts(problem, {}, ranks);
      for (const Result& part : parts) ExpectSameResult(part, whole);
      ExpectSameBits(JoinHead(parts), JoinNodes(whole.nodes));
    }
  }
}

TEST(CrossEntropyParts, FastOnAnyPartsOfTheVocabulary) {
  for (int64_t vocabulary : {int64_t{1030}, int64_t{5}}) {
    const Problem problem(vocabulary);
    const RunOptions fast{.invariant = false, .chunk_rows = 10};
    const Result whole = RunWhole(problem, fast);
    const double bound = ErrorBound(DType::kF32, vocabulary + kWidth);
    for (int ranks : {2, 3, 4, 8}) {
      SCOPED_TRACE(std::to_string(ranks) + " ranks of " + std::to_string(vocabulary));
      const std::vector<Result> parts = RunParts(problem, fast, ranks);
      for (const Result& part : parts) {
        ExpectSameResult(part, parts[0]);
        ExpectWithin(part.loss, whole.loss, bound);
        ExpectWithin(part.token_nll, whole.token_nll, bound);
        ExpectWithin(part.dh, whole.dh, bound);
        // 32 of the 37 tokens have a label: four chunks of up to 10 rows.
        EXPECT_EQ(part.calls, 2 * 4);
      }
      ExpectWithin(JoinHead(parts), whole.dhead, bound);
    }
  }
}

TEST(CrossEntropyParts, InvariantIsTheFastOneWithinTheBound) {
  const Problem problem(1030);
  const Result fast = RunWhole(problem, {.invariant = false}), fixed = RunWhole(problem, {});
  const double bound = ErrorBound(DType::kF32, problem.vocabulary() + kWidth);
  ExpectWithin(fixed.loss, fast.loss, bound);
  ExpectWithin(fixed.token_nll, fast.token_nll, bound);
  ExpectWithin(fixed.dh, fast.dh, bound);
  ExpectWithin(JoinNodes(fixed.nodes), fast.dhead, bound);
}

TEST(CrossEntropyParts, ChunksChangeNoBit) {
  const Problem problem(1030);
  const Result whole = RunWhole(problem, {});
  for (int64_t chunk_rows : {1, 3, 16, 33}) {
    SCOPED_TRACE(chunk_rows);
    const Result chunked = RunWhole(problem, {.chunk_rows = chunk_rows});
    ExpectSameResult(chunked, whole);
    ExpectSameBits(JoinNodes(chunked.nodes), JoinNodes(whole.nodes));
  }
}

TEST(CrossEntropyParts, RecomputedAndDeferredOnFourRanks) {
  const Problem problem(1030);
  for (bool invariant : {false, true}) {
    const RunOptions plain{.invariant = invariant, .chunk_rows = 10};
    RunOptions other = plain;
    other.recompute = other.defer = true;
    const std::vector<Result> expected = RunParts(problem, plain, 4);
    const std::vector<Result> actual = RunParts(problem, other, 4);
    for (size_t r = 0; r < 4; ++r) {
      ExpectSameResult(actual[r], expected[r]);
      EXPECT_EQ(actual[r].calls, 2 * expected[r].calls);  // the forward pass runs once more
    }
    ExpectSameBits(JoinHead(actual), JoinHead(expected));
  }
}

TEST(CrossEntropyParts, LeavesOfTokens) {
  const Problem problem(130);
  ExpectSameOnAnyTokens(kTokens, [&](const TokenPart& tokens) {
    Result r = RunWhole(problem, {.tokens = tokens});
    return TokenResult{{r.token_nll, r.dh}, std::move(r.nodes)};
  });
}

// Without a tape that records: the same losses.
TEST(CrossEntropyParts, EvaluationOnTwoRanks) {
  const Problem problem(1030);
  const Result whole = RunWhole(problem, {});
  RunRanks(2, [&](int rank, ThreadGroup& group) {
    const PiecePart part = PartOfPieces(1030, 2, rank);
    Parameter head = FloatParameter(problem.head.Rows(part.begin, 515), nullptr);
    Tape tape(false);
    tape.SetNumerics(Numerics::kInvariant);
    const CrossEntropyResult result =
        CrossEntropy(tape, tape.Input(problem.h), head, problem.labels, kScale,
                     {.z_loss = 0.1,
                      .first_row = part.begin,
                      .vocabulary = 1030,
                      .vocabulary_group = &group,
                      .vocabulary_pieces = part.pieces});
    ExpectSameBits(result.loss.tensor(), whole.loss);
    ExpectSameBits(result.token_nll.tensor(), whole.token_nll);
  });
}

// A plan counts the calls of a microbatch that is full of labels.
TEST(CrossEntropyParts, CallsOnMeta) {
  const TensorOptions meta{DType::kF32, Device::kMeta};
  Parameter head;
  head.value = Tensor::Empty({50, kWidth}, meta);
  ThreadGroup::Shared shared(1);
  ThreadGroup group(shared, 0);
  Tape tape;
  Var h = tape.Input(Tensor::Empty({kTokens, kWidth}, meta), true);
  CrossEntropy(tape, h, head, Tensor::Empty({kTokens}, {DType::kI32, Device::kMeta}), 1,
               {.chunk_rows = 10, .vocabulary = 100, .vocabulary_group = &group});
  EXPECT_EQ(group.calls(), 2 * 4);
}

OpCase InvariantCase(const std::string& name, int64_t vocabulary, std::vector<int32_t> labels,
                     CrossEntropyOptions options) {
  const auto rows = static_cast<int64_t>(labels.size());
  const int64_t width = 6;
  return {name,
          {{.shape = {rows, width}},
           {.shape = {vocabulary, width}, .parameter = true},
           {.shape = {rows}, .integers = labels}},
          [options](Tape& tape, OpArguments& in) {
            tape.SetNumerics(Numerics::kInvariant);
            return std::vector<Var>{
                CrossEntropy(tape, in.var(0), in.parameter(1), in.tensor(2), 0.37, options).loss};
          },
          width + vocabulary + rows};
}

TEST(CrossEntropyParts, InvariantOpCases) {
  CheckOpCase(InvariantCase("cross_entropy_invariant", 37, {3, 36, 0, 11, 3}, {}));
  CheckOpCase(InvariantCase(
      "cross_entropy_invariant_gaps", 19, {-1, 3, -1, 18, 0, 5, -1, -1, 7, 2, -1},
      {.z_loss = 0.1, .chunk_rows = 4, .vocabulary_pieces = PartOfPieces(19, 1, 0).pieces}));
}

// 3/4 of a part of dh is rounded, and then summed: not the bits of 3/4 of the sum.
TEST(CrossEntropyPartsDeathTest, ASeedThatRounds) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const Problem problem(20);
  Parameter head = FloatParameter(problem.head, OneMicrobatch());
  ThreadGroup::Shared shared(1);
  ThreadGroup group(shared, 0);
  Tape tape;
  PartOfTokens(kTokens, 1, 0).SetUp(tape);
  Var h = tape.Input(problem.h, true);
  const Var loss =
      CrossEntropy(tape, h, head, problem.labels, kScale, {.vocabulary_group = &group}).loss;
  EXPECT_DEATH(tape.RunBackward(loss, ScalarTensor(0.75, {})), "times 0.75 are rounded");
}

TEST(CrossEntropyPartsDeathTest, PartOutsideOfTheVocabulary) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Parameter head = FloatParameter(Tensor::Zeros({3, 1}, {}), nullptr);
  const std::vector<int32_t> labels = {0, 7};
  const Tensor label = Tensor::From<int32_t>({2}, labels);
  Tape tape(false);
  Var h = tape.Input(Tensor::Zeros({2, 1}, {}));
  EXPECT_DEATH(CrossEntropy(tape, h, head, label, 1.0, {.first_row = 5, .vocabulary = 7}),
               "row 5 of 7");
  EXPECT_DEATH(CrossEntropy(tape, h, head, label, 1.0, {.first_row = 2, .vocabulary = 7}),
               "label 7 at 1 with a vocabulary of 7");
}

}  // namespace
}  // namespace choir
