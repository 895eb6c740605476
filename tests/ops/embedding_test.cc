#include "ops/embedding.h"

#include <gtest/gtest.h>

#include "tensor/tolerance.h"
#include "tests/ops/op_case.h"
#include "tests/ops/rank_threads.h"

namespace choir {
namespace {

OpCase Case(const std::string& name, int64_t vocabulary, int64_t width,
            std::vector<int32_t> tokens) {
  return {name,
          {{.shape = {static_cast<int64_t>(tokens.size())}, .integers = tokens},
           {.shape = {vocabulary, width}, .parameter = true}},
          [](Tape& tape, OpArguments& in) {
            return std::vector<Var>{Embedding(tape, in.tensor(0), in.parameter(1))};
          },
          static_cast<int64_t>(tokens.size())};
}

TEST(Embedding, RepeatedAndUnusedTokens) {
  CheckOpCase(Case("embedding", 9, 21, {3, 0, 8, 3, 3, 1, 8, 0, 5, 3, 7}));
}

TEST(Embedding, WholeVectorsOneToken) { CheckOpCase(Case("embedding_one", 3, 32, {2})); }

TEST(Embedding, TiedWithItself) {
  CheckOpCase({"embedding_tied",
               {{.shape = {4}, .integers = {1, 2, 1, 0}}, {.shape = {4, 5}, .parameter = true}},
               [](Tape& tape, OpArguments& in) {
                 Var y = Embedding(tape, in.tensor(0), in.parameter(1));
                 return std::vector<Var>{y, Embedding(tape, in.tensor(0), in.parameter(1))};
               },
               8});
}

// Runs of one token that begin, end and pass whole tasks; values whose sums are exact.
TEST(Embedding, ScatterAgainstThePlainLoop) {
  constexpr int64_t kRows = 700, kWidth = 19, kVocabulary = 6;
  std::vector<int32_t> tokens(kRows);
  for (size_t t = 0; t < tokens.size(); ++t) {
    tokens[t] = static_cast<int32_t>(t % 7 < 4 ? 1 : t * 5 % 3 + 2);  // token 5 and 0: none
  }
  Parameter table;
  table.value = Tensor::Zeros({kVocabulary, kWidth}, {});
  table.grad = Tensor::Zeros({kVocabulary, kWidth}, {});
  std::vector<double> expected(kVocabulary * kWidth);
  for (size_t i = 0; i < expected.size(); ++i) {
    table.value.data<float>()[i] = static_cast<float>(i);
    table.grad.data<float>()[i] = 0.5f;
    expected[i] = 0.5;
  }
  Tape tape;
  Var y = Embedding(tape, Tensor::From<int32_t>({kRows}, tokens), table);
  Tensor dy = Tensor::Empty({kRows, kWidth}, {});
  for (int64_t i = 0; i < dy.NumElements(); ++i) {
    const int64_t token = tokens[static_cast<size_t>(i / kWidth)], c = i % kWidth;
    ASSERT_EQ(y.tensor().data<float>()[i], static_cast<float>(token * kWidth + c));
    dy.data<float>()[i] = static_cast<float>(i % 17 - 8);
    expected[static_cast<size_t>(token * kWidth + c)] += static_cast<double>(i % 17 - 8);
  }
  tape.RunBackward(y, dy);
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(static_cast<double>(table.grad.data<float>()[i]), expected[i]) << i;
  }
}

constexpr int64_t kVocabulary = 1030, kTokens = 37, kWidth = 19;

// Some tokens several times, in several leaves and on several ranks.
Tensor ManyTokens() {
  std::vector<int32_t> tokens;
  for (int32_t t = 0; t < kTokens; ++t) tokens.push_back(t % 3 == 0 ? 600 : t * 311 % 1030);
  return Tensor::From<int32_t>({kTokens}, tokens);
}

// Every part gives the rows of its own tokens, and the gradient of its own rows of the table.
TEST(Embedding, PartsOfTheTable) {
  const Tensor tokens = ManyTokens(), table = RandomFloats({kVocabulary, kWidth}, "table");
  const Tensor dy = RandomFloats({kTokens, kWidth}, "dy");
  for (bool invariant : {false, true}) {
    auto run = [&](int64_t first, int64_t end, Tensor& y) {
      Parameter part = FloatParameter(table.Rows(first, end - first).Clone(),
                                      invariant ? OneMicrobatch() : nullptr);
      Tape tape;
      if (invariant) PartOfTokens(kTokens, 1, 0).SetUp(tape);
      const EmbeddingOptions options{.first_row = first, .vocabulary = kVocabulary};
      const Var out = Embedding(tape, tokens, part, options);
      y = out.tensor();
      tape.RunBackward(out, dy);
      EXPECT_EQ(part.pending, 0);
      return invariant ? JoinNodes(part.tree->Take()) : part.grad;
    };
    Tensor whole_y;
    const Tensor whole = run(0, kVocabulary, whole_y);
    for (int ranks : {2, 3, 4, 8}) {
      std::vector<Tensor> grads;
      Tensor sum = Tensor::Zeros({kTokens, kWidth}, {});
      for (int r = 0; r < ranks; ++r) {
        Tensor y;
        grads.push_back(
            run(PieceBegin(kVocabulary, ranks, r), PieceBegin(kVocabulary, ranks, r + 1), y));
        AddInto(sum, y);
      }
      ExpectSameBits(sum, whole_y);
      ExpectSameBits(JoinRows(grads), whole);
    }
  }
}

TEST(Embedding, LeavesOfTokens) {
  const Tensor tokens = ManyTokens(), dy = RandomFloats({kTokens, kWidth}, "dy");
  const Tensor value = RandomFloats({kVocabulary, kWidth}, "table");
  const Tensor gradient = ExpectSameOnAnyTokens(kTokens, [&](const TokenPart& part) {
    Parameter table = FloatParameter(value, OneMicrobatch());
    Tape tape;
    part.SetUp(tape);
    const Var y = Embedding(tape, part.Of(tokens), table);
    tape.RunBackward(y, part.Of(dy));
    return TokenResult{{y.tensor()}, table.tree->Take()};
  });
  Parameter table = FloatParameter(value, nullptr);
  Tape tape;
  tape.RunBackward(Embedding(tape, tokens, table), dy);
  ExpectWithin(gradient, table.grad, ErrorBound(DType::kF32, kTokens));
}

TEST(EmbeddingDeathTest, PartOutsideOfTheVocabulary) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Parameter table = FloatParameter(Tensor::Zeros({4, 2}, {}), nullptr);
  Tape tape(false);
  const std::vector<int32_t> tokens = {1, 9};
  const Tensor ids = Tensor::From<int32_t>({2}, tokens);
  EXPECT_DEATH(Embedding(tape, ids, table, {.first_row = 3, .vocabulary = 6}), "row 3 of 6");
  EXPECT_DEATH(Embedding(tape, ids, table, {.first_row = 3, .vocabulary = 7}),
               "token 9 at 1 is outside of a vocabulary of 7");
}

TEST(EmbeddingDeathTest, TokenOutsideOfTheVocabulary) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Parameter table;
  table.value = Tensor::Zeros({4, 2}, {});
  Tape tape(false);
  const std::vector<int32_t> tokens = {1, 4};
  EXPECT_DEATH(Embedding(tape, Tensor::From<int32_t>({2}, tokens), table),
               "token 4 at 1 is outside of a vocabulary of 4");
}

}  // namespace
}  // namespace choir
