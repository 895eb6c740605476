#include "ops/embedding.h"

#include <gtest/gtest.h>

#include "tests/ops/op_case.h"

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
