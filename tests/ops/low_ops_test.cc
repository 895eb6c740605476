// Linear, GroupedLinear and the head with rounded operands, in fast mode, against the composition
// of the twin's rounding and products in double.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "ops/cross_entropy.h"
#include "ops/dispatch.h"
#include "ops/grouped_matmul.h"
#include "ops/matmul.h"
#include "tensor/memory.h"
#include "tensor/tolerance.h"
#include "tests/ops/low_product_twin.h"

namespace choir {
namespace {

struct FormatCase {
  const char* name;
  MatmulPrecision precision;
};
const FormatCase kFormatCases[] = {{"bf16", {MatmulFormat::kBF16}},
                                   {"f16", {MatmulFormat::kF16}},
                                   {"fp8", {MatmulFormat::kFp8Block}},
                                   {"fp8_square", {MatmulFormat::kFp8Block, true}},
                                   {"mxfp8", {MatmulFormat::kMxfp8}}};

class LowOp : public testing::TestWithParam<FormatCase> {};
INSTANTIATE_TEST_SUITE_P(Formats, LowOp, testing::ValuesIn(kFormatCases),
                         [](const auto& info) { return std::string(info.param.name); });

Tensor Random(const Shape& shape, const std::string& name, double scale = 1) {
  Tensor t = Tensor::Empty(shape, {});
  const CounterRandom random(3, name);
  for (int64_t i = 0; i < t.NumElements(); ++i) {
    t.data<float>()[i] = static_cast<float>(scale * random.Normal(static_cast<uint64_t>(i)));
  }
  return t;
}

SumPieces EightPieces(int64_t n) {
  std::vector<int64_t> bounds;
  for (int64_t i = 0; i <= 8; ++i) bounds.push_back(PieceBegin(n, 8, i));
  return std::make_shared<const std::vector<int64_t>>(std::move(bounds));
}

// Whether `actual` is the product of the operands as the twin rounds them. What it is summed in is
// bounded by the magnitudes of the terms (tensor/tolerance.h).
void ExpectProduct(const Tensor& actual, const ProductOperand& a, const ProductOperand& b,
                   const MatmulPrecision& precision, const SumPieces& pieces) {
  const TwinOperand ta =
      RoundTwin(a, RoundingOf(precision, a.role, a.transpose == Transpose::kYes), pieces);
  const TwinOperand tb =
      RoundTwin(b, RoundingOf(precision, b.role, b.transpose == Transpose::kNo), pieces);
  ASSERT_EQ(actual.NumElements(), ta.other * tb.other);
  for (int64_t i = 0; i < actual.NumElements(); ++i) {
    double sum = 0, magnitude = 0;
    for (int64_t k = 0; k < ta.k; ++k) {
      const double term = ta.Value(i / tb.other, k) * tb.Value(i % tb.other, k);
      sum += term;
      magnitude += std::abs(term);
    }
    const double bound = ErrorBound(DType::kF32, ta.k) * magnitude;
    ASSERT_NEAR(static_cast<double>(actual.data<float>()[i]), sum, bound) << i;
  }
}

constexpr int64_t kTokens = 150, kIn = 300, kOut = 280;
constexpr auto kNo = Transpose::kNo, kYes = Transpose::kYes;
constexpr auto kWeight = OperandRole::kWeight, kGradient = OperandRole::kGradient;

TEST_P(LowOp, LinearIsTheComposition) {
  const MatmulPrecision precision = GetParam().precision;
  Parameter w;
  w.value = Random({kOut, kIn}, "w", 0.02);
  w.grad = Tensor::Zeros({kOut, kIn}, {});
  w.matmul = precision;
  const SumPieces in = EightPieces(kIn), out = EightPieces(kOut);
  const Tensor x = Random({kTokens, kIn}, "x"), dy = Random({kTokens, kOut}, "dy", 1e-4);
  Tape tape;
  Var input = tape.Input(x, true);
  Var y = Linear(tape, input, w, {"linear", in, out});
  tape.RunBackward(y, dy);
  ExpectProduct(y.tensor(), {x}, {w.value, kYes, kWeight, out}, precision, in);
  ExpectProduct(input.grad()->grad, {dy, kNo, kGradient}, {w.value, kNo, kWeight, in}, precision,
                out);
  ExpectProduct(w.grad, {dy, kYes, kGradient, out}, {x}, precision, nullptr);
}

TEST_P(LowOp, EachExpertIsALinear) {
  constexpr int64_t kExperts = 4;
  const MatmulPrecision precision = GetParam().precision;
  const int64_t counts[kExperts] = {140, 0, 9, 1};
  Tensor choices = Tensor::Empty({kTokens, 1}, {DType::kI32});
  for (int64_t t = 0, e = 0, left = counts[0]; t < kTokens; ++t, --left) {
    while (left == 0) left = counts[++e];
    choices.data<int32_t>()[t] = static_cast<int32_t>(e);
  }
  Parameter w;
  w.value = Random({kExperts, kOut, kIn}, "w", 0.02);
  w.grad = Tensor::Zeros({kExperts, kOut, kIn}, {});
  w.matmul = precision;
  const SumPieces in = EightPieces(kIn), out = EightPieces(kOut);
  const Tensor x = Random({kTokens, kIn}, "x"), dy = Random({kTokens, kOut}, "dy", 1e-4);
  Tape tape;
  const Dispatch dispatch = PlanDispatch(tape, tape.Input(choices), kExperts);
  Var input = tape.Input(x, true);  // sorted by expert already
  Var y = GroupedLinear(tape, input, w, dispatch.offsets, {"grouped", in, out, nullptr, {}, {}});
  tape.RunBackward(y, dy);
  for (int64_t e = 0, row = 0; e < kExperts; row += counts[e++]) {
    const Tensor we = w.value.Rows(e, 1).Reshape({kOut, kIn});
    const Tensor xe = x.Rows(row, counts[e]), dye = dy.Rows(row, counts[e]);
    const Tensor grad = w.grad.Rows(e, 1).Reshape({kOut, kIn});
    ExpectProduct(y.tensor().Rows(row, counts[e]), {xe}, {we, kYes, kWeight, out}, precision, in);
    ExpectProduct(input.grad()->grad.Rows(row, counts[e]), {dye, kNo, kGradient},
                  {we, kNo, kWeight, in}, precision, out);
    ExpectProduct(grad, {dye, kYes, kGradient, out}, {xe}, precision, nullptr);
  }
}

// The bytes that a step keeps for backward do not depend on the format.
TEST_P(LowOp, SavesNothingMore) {
  int64_t kept[2];
  for (const bool low : {false, true}) {
    Parameter w;
    w.value = Random({kOut, kIn}, "w");
    w.grad = Tensor::Zeros({kOut, kIn}, {});
    if (low) w.matmul = GetParam().precision;
    const int64_t before = CurrentLedger(Device::kCpu).CurrentTotal();
    Tape tape;
    Var input = tape.Input(Random({kTokens, kIn}, "x"), true);
    Var y = Linear(tape, input, w);
    kept[low] = CurrentLedger(Device::kCpu).CurrentTotal() - before;
  }
  EXPECT_EQ(kept[0], kept[1]);
}

// Peak bytes of a step of a Linear or, with experts, a GroupedLinear.
int64_t PeakOn(Device device, const MatmulPrecision& precision, int64_t experts) {
  MemoryLedger ledger;
  const ScopedLedger scope(device, ledger);
  const TensorOptions options{DType::kF32, device};
  const bool grouped = experts > 0;
  const Shape shape = grouped ? Shape{experts, kOut, kIn} : Shape{kOut, kIn};
  Parameter w;
  w.value = Tensor::Zeros(shape, options);
  w.grad = Tensor::Zeros(shape, options);
  w.matmul = precision;
  Tensor offsets = Tensor::Zeros({experts + 1}, {DType::kI32, device});
  if (device == Device::kCpu) {
    for (int64_t e = 0; e <= experts; ++e) {
      offsets.data<int32_t>()[e] = static_cast<int32_t>(PieceBegin(kTokens, experts + 1, e + 1));
    }
    offsets.data<int32_t>()[0] = 0;
  }
  Tape tape;
  Var x = tape.Input(Tensor::Zeros({kTokens, kIn}, options), true);
  Var y = grouped ? GroupedLinear(tape, x, w, offsets) : Linear(tape, x, w);
  tape.RunBackward(y, Tensor::Zeros({kTokens, kOut}, options));
  return ledger.PeakTotal();
}

TEST_P(LowOp, PlansAreExact) {
  for (const int64_t experts : {0, 3}) {
    const int64_t peak = PeakOn(Device::kCpu, GetParam().precision, experts);
    EXPECT_EQ(PeakOn(Device::kMeta, GetParam().precision, experts), peak) << experts;
    EXPECT_GT(peak, PeakOn(Device::kCpu, {}, experts)) << "no workspace";
  }
}

// --- the head --------------------------------------------------------------------------------

constexpr int64_t kRows = 60, kWidth = 40, kVocabulary = 130;
constexpr double kScale = 0.013, kZLoss = 0.01;

struct HeadRun {
  Tensor loss, dh, dhead;
};

std::vector<int32_t> Labels() {
  std::vector<int32_t> labels(kRows);
  for (size_t t = 0; t < labels.size(); ++t) {
    labels[t] = t % 7 == 3 ? -1 : static_cast<int32_t>(t * 37 % kVocabulary);
  }
  return labels;
}

HeadRun RunHead(const Tensor& h, const Tensor& value, MatmulFormat format, Numerics numerics,
                float seed) {
  Parameter head;
  head.value = value;
  head.matmul.format = format;
  Tape tape;
  tape.SetNumerics(numerics);
  auto rows = std::make_shared<RowLeaves>(RowLeaves{{0, 1}, {0, 25, kRows}});
  if (numerics == Numerics::kInvariant) {
    head.tree = std::make_shared<GradTree>(std::make_shared<LeafTree>(1, 2));
    tape.SetRows(rows);
  } else {
    head.grad = Tensor::Zeros(value.shape(), {});
  }
  Var input = tape.Input(h, true);
  const Tensor labels = Tensor::From<int32_t>({kRows}, Labels());
  const auto result =
      CrossEntropy(tape, input, head, labels, kScale, {.z_loss = kZLoss, .chunk_rows = 16});
  tape.RunBackward(result.loss, Tensor::From<float>({1}, std::vector<float>{seed}));
  HeadRun run{result.loss.tensor(), input.grad()->grad, head.grad};
  if (head.tree != nullptr) {
    const auto nodes = head.tree->Take();
    EXPECT_EQ(nodes.size(), 1u);
    run.dhead = nodes[0].sum;
  }
  return run;
}

// Whether the rounding of x differs within `error` of it.
bool NearTie(NumberFormat format, double x, double error) {
  return TwinRound(format, static_cast<float>(x - error)) !=
         TwinRound(format, static_cast<float>(x + error));
}

// The definition in double on rounded operands. A rounding of a logit's gradient may fall to the
// other side of a tie, so results may differ by one step of the format for each.
void ExpectHeadAsDefined(MatmulFormat format, Numerics numerics) {
  const NumberFormat number =
      format == MatmulFormat::kBF16 ? NumberFormat::kBF16 : NumberFormat::kF16;
  const Tensor h = Random({kRows, kWidth}, "h"), head = Random({kVocabulary, kWidth}, "head", 0.2);
  const float seed = 4;
  const HeadRun run = RunHead(h, head, format, numerics, seed);
  const auto at = [&](const Tensor& t, int64_t i) {
    return static_cast<double>(TwinRound(number, t.data<float>()[i]));
  };
  std::vector<double> dh(kRows * kWidth), dhead(kVocabulary * kWidth), slack_h(dh),
      slack_head(dhead);
  double loss = 0;
  const std::vector<int32_t> labels = Labels();
  for (int64_t t = 0; t < kRows; ++t) {
    const int32_t label = labels[static_cast<size_t>(t)];
    if (label < 0) continue;
    std::vector<double> x(kVocabulary);
    double sum = 0;
    for (int64_t v = 0; v < kVocabulary; ++v) {
      for (int64_t c = 0; c < kWidth; ++c) {
        x[static_cast<size_t>(v)] += at(h, t * kWidth + c) * at(head, v * kWidth + c);
      }
      sum += std::exp(x[static_cast<size_t>(v)]);
    }
    const double lse = std::log(sum);
    loss += kScale * (lse - x[static_cast<size_t>(label)] + kZLoss * lse * lse);
    for (int64_t v = 0; v < kVocabulary; ++v) {
      const double p = std::exp(x[static_cast<size_t>(v)] - lse);
      const double exact = kScale * (p * (1 + 2 * kZLoss * lse) - (v == label));
      const double unit = std::exp2(std::floor(std::log2(kScale)));
      const double d =
          seed * unit * static_cast<double>(TwinRound(number, static_cast<float>(exact / unit)));
      // Twice the roundoff of d where it was near a tie; the F32 errors of the softmax else.
      const double f32 = ErrorBound(DType::kF32, kWidth + kVocabulary) * seed * kScale;
      const double step =
          2 * UnitRoundoff(number) * std::abs(d) + seed * unit * SmallestValue(number);
      const double off = f32 + step * (NearTie(number, exact / unit, f32 / seed / unit) ? 1 : 0);
      for (int64_t c = 0; c < kWidth; ++c) {
        dh[static_cast<size_t>(t * kWidth + c)] += d * at(head, v * kWidth + c);
        dhead[static_cast<size_t>(v * kWidth + c)] += d * at(h, t * kWidth + c);
        slack_h[static_cast<size_t>(t * kWidth + c)] += off * std::abs(at(head, v * kWidth + c));
        slack_head[static_cast<size_t>(v * kWidth + c)] += off * std::abs(at(h, t * kWidth + c));
      }
    }
  }
  EXPECT_NEAR(*run.loss.data<float>(), loss, ErrorBound(DType::kF32, kRows + kVocabulary) * loss);
  for (size_t i = 0; i < dh.size(); ++i) {
    ASSERT_NEAR(static_cast<double>(run.dh.data<float>()[i]), dh[i], slack_h[i]) << i;
  }
  for (size_t i = 0; i < dhead.size(); ++i) {
    ASSERT_NEAR(static_cast<double>(run.dhead.data<float>()[i]), dhead[i], slack_head[i]) << i;
  }
}

TEST(LowHead, AsDefinedOnRoundedOperands) {
  for (const MatmulFormat format : {MatmulFormat::kBF16, MatmulFormat::kF16}) {
    for (const Numerics numerics : {Numerics::kFast, Numerics::kInvariant}) {
      ExpectHeadAsDefined(format, numerics);
    }
  }
}

TEST(LowHead, LogitsForGeneration) {
  const Tensor h = Random({5, kWidth}, "h");
  Parameter head;
  head.value = Random({kVocabulary, kWidth}, "head");
  head.matmul.format = MatmulFormat::kBF16;
  ExpectProduct(Logits(h, head), {h}, {head.value, kYes, kWeight}, head.matmul, nullptr);
}

TEST(LowHeadDeathTest, RefusesEightBits) {
  const Tensor h = Random({kRows, kWidth}, "h"), head = Random({kVocabulary, kWidth}, "head");
  EXPECT_DEATH(RunHead(h, head, MatmulFormat::kMxfp8, Numerics::kFast, 1), "no 8-bit products");
}

}  // namespace
}  // namespace choir
