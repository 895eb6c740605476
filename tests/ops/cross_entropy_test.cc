#include "ops/cross_entropy.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/elementwise.h"
#include "tensor/tolerance.h"
#include "tests/ops/op_case.h"

namespace choir {
namespace {

OpCase Case(const std::string& name, int64_t width, int64_t vocabulary, std::vector<int32_t> labels,
            CrossEntropyOptions options) {
  const int64_t rows = static_cast<int64_t>(labels.size());
  return {name,
          {{.shape = {rows, width}},
           {.shape = {vocabulary, width}, .parameter = true},
           {.shape = {rows}, .integers = labels}},
          [options](Tape& tape, OpArguments& in) {
            return std::vector<Var>{
                CrossEntropy(tape, in.var(0), in.parameter(1), in.tensor(2), 0.37, options).loss};
          },
          width + vocabulary + rows};
}

TEST(CrossEntropy, EveryRowHasALabel) {
  CheckOpCase(Case("cross_entropy", 5, 37, {3, 36, 0, 11, 3}, {}));
}

TEST(CrossEntropy, VocabularyBelowOneVector) {
  CheckOpCase(Case("cross_entropy_small", 3, 2, {1, 0, 1}, {}));
}

TEST(CrossEntropy, ZLoss) {
  CheckOpCase(Case("cross_entropy_z", 4, 32, {3, 31, 0}, {.z_loss = 0.25}));
}

TEST(CrossEntropy, GapsAndChunks) {
  CheckOpCase(Case("cross_entropy_gaps", 6, 19, {-1, 3, -1, 18, 0, 5, -1, -1, 7, 2, -1},
                   {.z_loss = 0.1, .chunk_rows = 4}));
}

TEST(CrossEntropy, ChunksThatDoNotDivide) {
  CheckOpCase(Case("cross_entropy_chunks", 6, 19, {1, 3, 4, 18, 0}, {.chunk_rows = 2}));
}

TEST(CrossEntropy, PaddingAtTheEnd) {
  CheckOpCase(Case("cross_entropy_padded", 4, 18, {3, 17, 0, -1, -1}, {}));
}

// The plain definition.
struct Twin {
  double loss = 0;
  std::vector<double> nll, dh, dhead;
};

Twin PlainCrossEntropy(const Tensor& h, const Tensor& head, const std::vector<int32_t>& labels,
                       double scale, double z_loss) {
  const int64_t rows = h.dim(0), width = h.dim(1), vocabulary = head.dim(0);
  Twin twin;
  twin.nll.resize(static_cast<size_t>(rows));
  twin.dh.resize(static_cast<size_t>(rows * width));
  twin.dhead.resize(static_cast<size_t>(vocabulary * width));
  auto at = [](const Tensor& t, int64_t i) { return static_cast<double>(t.data<float>()[i]); };
  for (int64_t t = 0; t < rows; ++t) {
    const int32_t label = labels[static_cast<size_t>(t)];
    if (label < 0) continue;
    std::vector<double> logits(static_cast<size_t>(vocabulary));
    double sum = 0;
    for (int64_t v = 0; v < vocabulary; ++v) {
      double& x = logits[static_cast<size_t>(v)];
      for (int64_t c = 0; c < width; ++c) x += at(h, t * width + c) * at(head, v * width + c);
      sum += std::exp(x);
    }
    const double lse = std::log(sum), nll = lse - logits[static_cast<size_t>(label)];
    twin.nll[static_cast<size_t>(t)] = nll;
    twin.loss += scale * (nll + z_loss * lse * lse);
    for (int64_t v = 0; v < vocabulary; ++v) {
      const double p = std::exp(logits[static_cast<size_t>(v)] - lse);
      const double d = scale * (p - (v == label) + 2 * z_loss * lse * p);
      for (int64_t c = 0; c < width; ++c) {
        twin.dh[static_cast<size_t>(t * width + c)] += d * at(head, v * width + c);
        twin.dhead[static_cast<size_t>(v * width + c)] += d * at(h, t * width + c);
      }
    }
  }
  return twin;
}

void ExpectClose(const Tensor& actual, const std::vector<double>& expected, int64_t length) {
  ASSERT_EQ(static_cast<size_t>(actual.NumElements()), expected.size());
  double largest = 0;
  for (double x : expected) largest = std::max(largest, std::abs(x));
  const double bound = ErrorBound(DType::kF32, length) * largest;
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(static_cast<double>(actual.data<float>()[i]), expected[i], bound) << i;
  }
}

TEST(CrossEntropy, AgainstThePlainDefinition) {
  constexpr int64_t kRows = 300, kWidth = 24, kVocabulary = 1500;  // several blocks of a row
  constexpr double kScale = 0.01, kZLoss = 0.003;
  Parameter head;
  head.value = Tensor::Empty({kVocabulary, kWidth}, {});
  head.grad = Tensor::Zeros({kVocabulary, kWidth}, {});
  Tensor h = Tensor::Empty({kRows, kWidth}, {});
  for (int64_t i = 0; i < h.NumElements(); ++i) {
    h.data<float>()[i] = static_cast<float>(std::sin(0.7 * static_cast<double>(i)));
  }
  for (int64_t i = 0; i < head.value.NumElements(); ++i) {
    head.value.data<float>()[i] = static_cast<float>(std::cos(1.3 * static_cast<double>(i)));
  }
  std::vector<int32_t> labels(kRows);
  for (size_t t = 0; t < labels.size(); ++t) {
    labels[t] = t % 11 == 4 ? -1 : static_cast<int32_t>(t * 37 % kVocabulary);
  }
  const Twin twin = PlainCrossEntropy(h, head.value, labels, kScale, kZLoss);
  const Tensor label_tensor = Tensor::From<int32_t>({kRows}, labels);
  for (int64_t chunk_rows : {0, 100, 273, 1000}) {
    SCOPED_TRACE(chunk_rows);
    const CrossEntropyOptions options{.z_loss = kZLoss, .chunk_rows = chunk_rows};
    Tape tape;
    Var x = tape.Input(h, true);
    const CrossEntropyResult result = CrossEntropy(tape, x, head, label_tensor, kScale, options);
    EXPECT_NEAR(ScalarValue(result.loss.tensor()), twin.loss,
                ErrorBound(DType::kF32, kVocabulary) * twin.loss);
    ExpectClose(result.token_nll.tensor(), twin.nll, kVocabulary);
    EXPECT_EQ(result.token_nll.grad(), nullptr);
    head.grad.Zero();
    tape.RunBackward(result.loss, ScalarTensor(1, {}));
    ExpectClose(x.grad()->grad, twin.dh, kVocabulary);
    ExpectClose(head.grad, twin.dhead, kRows);

    Tape evaluation(false);
    const CrossEntropyResult same =
        CrossEntropy(evaluation, evaluation.Input(h), head, label_tensor, kScale, options);
    EXPECT_EQ(ScalarValue(same.loss.tensor()), ScalarValue(result.loss.tensor()));
  }
}

TEST(CrossEntropy, WithoutAnyLabelIsZero) {
  Parameter head;
  head.value = Tensor::Zeros({7, 3}, {});
  head.grad = Tensor::Zeros({7, 3}, {});
  const std::vector<int32_t> labels = {-1, -1};
  Tape tape;
  Var h = tape.Input(Tensor::Zeros({2, 3}, {}), true);
  const CrossEntropyResult result =
      CrossEntropy(tape, h, head, Tensor::From<int32_t>({2}, labels), 1.0);
  EXPECT_EQ(ScalarValue(result.loss.tensor()), 0);
  EXPECT_EQ(SumOfSquares(result.token_nll.tensor()), 0);
  tape.RunBackward(result.loss, ScalarTensor(1, {}));
  EXPECT_EQ(SumOfSquares(h.grad()->grad), 0);
  EXPECT_EQ(SumOfSquares(head.grad), 0);
}

// Large logits: nothing overflows, and a sure prediction costs nothing.
TEST(CrossEntropy, LogitsFarApart) {
  Parameter head;
  head.value = Tensor::Zeros({3, 1}, {});
  head.value.data<float>()[0] = 1000;
  head.value.data<float>()[2] = -1000;
  const std::vector<int32_t> labels = {0, 2};
  Tensor h = Tensor::Empty({2, 1}, {});
  h.data<float>()[0] = h.data<float>()[1] = 1;
  Tape tape(false);
  const CrossEntropyResult result =
      CrossEntropy(tape, tape.Input(h), head, Tensor::From<int32_t>({2}, labels), 1.0);
  EXPECT_EQ(result.token_nll.tensor().data<float>()[0], 0);
  EXPECT_EQ(result.token_nll.tensor().data<float>()[1], 2000);
}

// One chunk of logits is all that exists: the peak does not grow with the rows' logits.
TEST(CrossEntropy, PeakIsOneChunk) {
  constexpr int64_t kRows = 4096, kWidth = 64, kVocabulary = 8192, kChunk = 128;
  MemoryLedger ledger;
  ScopedLedger scoped(Device::kMeta, ledger);
  const TensorOptions meta{DType::kF32, Device::kMeta};
  Parameter head;
  head.value = Tensor::Empty({kVocabulary, kWidth}, meta);
  Tape tape;
  Var h = tape.Input(Tensor::Empty({kRows, kWidth}, meta), true);
  Tensor labels = Tensor::Empty({kRows}, {DType::kI32, Device::kMeta});
  CrossEntropy(tape, h, head, labels, 1.0, {.chunk_rows = kChunk});
  EXPECT_LT(ledger.Peak(MemoryCategory::kWorkspace),
            4 * kChunk * (kVocabulary + 3 * kWidth) + 65536);
}

TEST(CrossEntropyDeathTest, LabelOutsideOfTheVocabulary) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Parameter head;
  head.value = Tensor::Zeros({3, 1}, {});
  const std::vector<int32_t> labels = {0, 3};
  Tape tape(false);
  Var h = tape.Input(Tensor::Zeros({2, 1}, {}));
  EXPECT_DEATH(CrossEntropy(tape, h, head, Tensor::From<int32_t>({2}, labels), 1.0),
               "label 3 at 1 with a vocabulary of 3");
}

TEST(Logits, AreTheProduct) {
  Parameter head;
  head.value = Tensor::Empty({5, 2}, {});
  Tensor h = Tensor::Empty({3, 2}, {});
  for (int i = 0; i < 10; ++i) head.value.data<float>()[i] = static_cast<float>(i - 4);
  for (int i = 0; i < 6; ++i) h.data<float>()[i] = static_cast<float>(2 * i + 1);
  const Tensor logits = Logits(h, head);
  ASSERT_EQ(logits.shape(), Shape({3, 5}));
  for (int64_t t = 0; t < 3; ++t) {
    for (int64_t v = 0; v < 5; ++v) {
      float expected = 0;
      for (int64_t c = 0; c < 2; ++c) {
        expected += h.data<float>()[t * 2 + c] * head.value.data<float>()[v * 2 + c];
      }
      EXPECT_EQ(logits.data<float>()[t * 5 + v], expected);
    }
  }
}

}  // namespace
}  // namespace choir
