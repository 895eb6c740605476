// Rounded operands and their products against the twin, and against float64 within the bound of
// ops/block_gemm.h.
#include "ops/low_product.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "ops/parallel_for.h"
#include "tests/ops/low_product_twin.h"

namespace choir {
namespace {

constexpr MatmulFormat kFormats[] = {MatmulFormat::kBF16, MatmulFormat::kF16,
                                     MatmulFormat::kFp8Block, MatmulFormat::kMxfp8};

// Normal, with a few values far larger and smaller than their neighbours, and a run of zeros that
// fills whole blocks.
Tensor Wild(int64_t rows, int64_t columns, const std::string& name) {
  Tensor t = Tensor::Empty({rows, columns}, {});
  const CounterRandom random(3, name);
  for (int64_t i = 0; i < t.NumElements(); ++i) {
    const uint64_t kind = random.Bits(static_cast<uint64_t>(t.NumElements() + i)) % 50;
    double x = random.Normal(static_cast<uint64_t>(i));
    if (kind == 0) x *= 300;
    if (kind == 1) x *= 1e-6;
    if (i % columns >= 256 && i % columns < 400) x = 0;
    t.data<float>()[i] = static_cast<float>(x);
  }
  return t;
}

SumPieces Pieces(std::vector<int64_t> bounds) {
  return std::make_shared<const std::vector<int64_t>>(std::move(bounds));
}

SumPieces EightPieces(int64_t n) {
  std::vector<int64_t> bounds;
  for (int64_t i = 0; i <= 8; ++i) bounds.push_back(PieceBegin(n, 8, i));
  return Pieces(std::move(bounds));
}

void ExpectRoundedAsTwin(const ProductOperand& operand, const OperandRounding& how,
                         const SumPieces& pieces) {
  const RoundedMatrix rounded = RoundMatrix(operand, how, pieces);
  const TwinOperand twin = RoundTwin(operand, how, pieces);
  const auto bits = [](float x) { return std::bit_cast<uint32_t>(x); };
  ASSERT_EQ(rounded.scales.defined(), how.HasScales());
  std::vector<int64_t> bounds =
      BlockBounds(twin.k, pieces == nullptr ? PieceBounds() : PieceBounds(*pieces), kFp8Block);
  for (int64_t o = 0; o < twin.other; ++o) {
    size_t block = 0;
    for (int64_t i = 0; i < twin.k; ++i) {
      while (bounds[block + 1] <= i) ++block;
      const int64_t at = how.sum_in_rows ? i * twin.other + o : o * twin.k + i;
      ASSERT_EQ(bits(rounded.values.data<float>()[at]), bits(twin.values[twin.At(o, i)]))
          << o << "," << i;
      if (!how.HasScales()) continue;
      const int64_t scale = static_cast<int64_t>(block) * twin.other + o;
      ASSERT_EQ(bits(rounded.scales.data<float>()[scale]), bits(twin.scales[twin.At(o, i)]))
          << o << "," << i;
    }
  }
}

TEST(RoundOperand, EveryFormatAndShapeAsTheTwin) {
  for (const MatmulFormat format : kFormats) {
    for (const bool square : {false, true}) {
      if (square && format != MatmulFormat::kFp8Block) continue;
      for (const bool sum_in_rows : {false, true}) {
        for (const auto& [rows, columns] :
             {std::pair<int64_t, int64_t>{1, 1}, {3, 129}, {131, 700}, {260, 40}, {40, 1500}}) {
          const Tensor m = Wild(rows, columns, "operand");
          const int64_t k = sum_in_rows ? rows : columns, other = sum_in_rows ? columns : rows;
          const OperandRounding how{format, square, sum_in_rows};
          ExpectRoundedAsTwin({m}, how, nullptr);
          ProductOperand cut{m};
          cut.other_pieces = EightPieces(other);
          ExpectRoundedAsTwin(cut, how, EightPieces(k));
        }
      }
    }
  }
}

TEST(RoundOperand, BlocksOfExtremes) {
  // One block each: zeros; subnormal; the largest floats; a lone tiny value beside a huge one.
  std::vector<float> x;
  for (const float v : {0.0f, std::numeric_limits<float>::denorm_min(), 0x1p-140f, 0x1p-127f,
                        std::numeric_limits<float>::max(), 3e38f, 448.0f, 449.0f, 511.9f}) {
    for (int i = 0; i < 128; ++i) x.push_back(i % 3 == 0 ? v : i % 3 == 1 ? -v / 2 : v * 1e-4f);
  }
  const auto rows = static_cast<int64_t>(x.size()) / 128;
  const Tensor m = Tensor::From<float>({rows, 128}, x);
  for (const MatmulFormat format : {MatmulFormat::kFp8Block, MatmulFormat::kMxfp8}) {
    ExpectRoundedAsTwin({m}, {format, false, false}, nullptr);
  }
  const RoundedMatrix zeros = RoundMatrix({m}, {MatmulFormat::kFp8Block, false, false}, nullptr);
  EXPECT_EQ(zeros.scales.data<float>()[0], 1.0f);
  EXPECT_EQ(zeros.values.data<float>()[0], 0.0f);
}

TEST(RoundOperand, NothingBadIsRoundedAway) {
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
    Tensor m = Wild(2, 300, "bad");
    m.data<float>()[130] = bad;
    for (const MatmulFormat format : {MatmulFormat::kFp8Block, MatmulFormat::kMxfp8}) {
      const int64_t block = format == MatmulFormat::kFp8Block ? kFp8Block : kMxBlock;
      const RoundedMatrix r = RoundMatrix({m}, {format, false, false}, nullptr);
      for (int64_t i = 0; i < m.NumElements(); ++i) {
        const bool inside = i < 300 && i / block == 130 / block;
        ASSERT_EQ(std::isnan(r.values.data<float>()[i]), inside) << i;
      }
    }
    const Tensor w = Wild(5, 300, "w"), c = Tensor::Empty({2, 5}, {});
    for (const MatmulFormat format : kFormats) {
      ProductInto(c, {m}, {w, Transpose::kYes, OperandRole::kWeight}, 0, {format}, {});
      for (int64_t j = 0; j < 5; ++j) {
        EXPECT_FALSE(std::isfinite(c.data<float>()[j]));
        EXPECT_TRUE(std::isfinite(c.data<float>()[5 + j]));
      }
    }
  }
}

// --- products --------------------------------------------------------------------------------

struct Case {
  int64_t m, n, k;
  SumPieces k_pieces;
  bool square_gradient = false;
};

std::vector<Case> Cases() {
  return {{1, 1, 1, nullptr},
          {5, 3, 128, nullptr},
          {3, 5, 129, nullptr},
          {33, 70, 700, nullptr},
          {261, 258, 130, nullptr},  // several tiles
          {17, 29, 1100, EightPieces(1100)},
          {17, 29, 37, EightPieces(37)},
          {9, 8, 300, Pieces({0, 0, 300})},
          {130, 140, 300, Pieces({0, 150, 300}), true}};
}

// The three products of a weight, as to which operand is which and stored how.
struct Operands {
  ProductOperand a, b;
};

std::vector<Operands> ProductsOf(const Case& c) {
  const SumPieces other_m = EightPieces(c.m), other_n = EightPieces(c.n);
  const auto weight = OperandRole::kWeight;
  const auto gradient = OperandRole::kGradient;
  return {{{Wild(c.m, c.k, "x")}, {Wild(c.n, c.k, "w"), Transpose::kYes, weight, other_n}},
          {{Wild(c.m, c.k, "dy"), Transpose::kNo, gradient, other_m},
           {Wild(c.k, c.n, "w"), Transpose::kNo, weight, other_n}},
          {{Wild(c.k, c.m, "dy"), Transpose::kYes, gradient, other_m}, {Wild(c.k, c.n, "x")}}};
}

struct Twins {
  TwinOperand a, b;
};

Twins TwinsOf(const Operands& o, const MatmulPrecision& precision, const SumPieces& k_pieces) {
  return {
      RoundTwin(o.a, RoundingOf(precision, o.a.role, o.a.transpose == Transpose::kYes), k_pieces),
      RoundTwin(o.b, RoundingOf(precision, o.b.role, o.b.transpose == Transpose::kNo), k_pieces)};
}

TEST(LowProduct, InvariantBitsAreTheTwins) {
  for (const Case& c : Cases()) {
    for (const MatmulFormat format : kFormats) {
      const MatmulPrecision precision{format, c.square_gradient};
      for (const Operands& o : ProductsOf(c)) {
        const Tensor result = Wild(c.m, c.n, "c"), before = result.Clone();
        ProductInto(result, o.a, o.b, 1, precision, {Numerics::kInvariant, c.k_pieces});
        const Twins twin = TwinsOf(o, precision, c.k_pieces);
        for (int64_t i = 0; i < c.m * c.n; ++i) {
          const float sum = format == MatmulFormat::kFp8Block
                                ? ChainTwin(twin.a, twin.b, i / c.n, i % c.n, c.k_pieces)
                                : PlainChainTwin(twin.a, twin.b, i / c.n, i % c.n, c.k_pieces);
          ASSERT_EQ(result.data<float>()[i], before.data<float>()[i] + sum)
              << c.m << " x " << c.n << " x " << c.k << " at " << i;
        }
      }
    }
  }
}

// d(a) of ops/block_gemm.h; MXFP8 with the eighth that saturation may cost.
double ElementError(MatmulFormat format, double a, double scale) {
  const double rounding = 0x1p-23 * std::abs(a);
  switch (format) {
    case MatmulFormat::kBF16:
      return std::max(0x1p-8 * std::abs(a), 0x1p-134);
    case MatmulFormat::kF16:  // inputs stay below its largest value
      return std::max(0x1p-11 * std::abs(a), 0x1p-25);
    case MatmulFormat::kFp8Block:
      return std::max(0x1p-4 * std::abs(a), 0x1p-10 * scale) + rounding;
    case MatmulFormat::kMxfp8:
      return std::abs(a) > 448 * scale ? std::abs(a) / 8
                                       : std::max(0x1p-4 * std::abs(a), 0x1p-10 * scale);
    case MatmulFormat::kFull:
      break;
  }
  return 0;
}

// The scale of each element also where it was multiplied in.
std::vector<float> MxScales(const SumPieces& pieces, const TwinOperand& twin) {
  std::vector<float> scales;
  for (int64_t o = 0; o < twin.other; ++o) {
    for (int64_t i = 0; i < twin.k; ++i) {
      const auto [first, last] = BlockOf(i, twin.k, pieces, kMxBlock);
      float amax = 0;
      for (int64_t j = first; j < last; ++j)
        amax = std::max(amax, std::abs(twin.exact[twin.At(o, j)]));
      scales.push_back(TwinScale(MatmulFormat::kMxfp8, amax));
    }
  }
  return scales;
}

TEST(LowProduct, SlowWithinTheDerivedBoundOfFloat64) {
  for (const Case& c : Cases()) {
    for (const MatmulFormat format : kFormats) {
      for (const Numerics numerics : {Numerics::kFast, Numerics::kInvariant}) {
        const MatmulPrecision precision{format, c.square_gradient};
        for (const Operands& o : ProductsOf(c)) {
          const Tensor result = Wild(c.m, c.n, "c"), before = result.Clone();
          ProductInto(result, o.a, o.b, 1, precision, {numerics, c.k_pieces});
          Twins twin = TwinsOf(o, precision, c.k_pieces);
          if (format == MatmulFormat::kMxfp8) {
            twin.a.scales = MxScales(c.k_pieces, twin.a);
            twin.b.scales = MxScales(c.k_pieces, twin.b);
          }
          const bool blocks = format == MatmulFormat::kFp8Block;
          const double roundings = blocks ? 128 + static_cast<double>(c.k / 128 + 8) + 3 + 4
                                          : static_cast<double>(c.k) + 4;
          const double g = 0x1p-24 * roundings * (1 + 0x1p-10);
          for (int64_t i = 0; i < c.m * c.n; ++i) {
            double exact = before.data<float>()[i], rounding = 0;
            double sums = std::abs(exact);
            for (int64_t k = 0; k < c.k; ++k) {
              const size_t at_a = twin.a.At(i / c.n, k), at_b = twin.b.At(i % c.n, k);
              const double a = twin.a.exact[at_a], b = twin.b.exact[at_b];
              const double da = ElementError(format, a, twin.a.scales[at_a]);
              const double db = ElementError(format, b, twin.b.scales[at_b]);
              exact += a * b;
              rounding += std::abs(a) * db + std::abs(b) * da + da * db;
              sums += (std::abs(a) + da) * (std::abs(b) + db);
            }
            ASSERT_NEAR(static_cast<double>(result.data<float>()[i]), exact, rounding + g * sums)
                << c.m << " x " << c.n << " x " << c.k << " at " << i;
          }
        }
      }
    }
  }
}

TEST(LowProduct, ThreadsChangeNoBit) {
  const int threads = NumThreads();
  for (const MatmulFormat format : kFormats) {
    for (const Operands& o : ProductsOf({300, 260, 257, nullptr})) {
      Tensor results[2];
      for (int i = 0; i < 2; ++i) {
        SetNumThreads(i == 0 ? 1 : 3);
        results[i] = Tensor::Empty({300, 260}, {});
        ProductInto(results[i], o.a, o.b, 0, {format}, {});
      }
      EXPECT_EQ(
          std::memcmp(results[0].raw(), results[1].raw(), static_cast<size_t>(results[0].bytes())),
          0);
    }
  }
  SetNumThreads(threads);
}

TEST(LowProductDeathTest, RefusesOtherTypes) {
  const Tensor a = Tensor::Zeros({2, 3}, {DType::kF64}), c = Tensor::Zeros({2, 2}, {DType::kF64});
  EXPECT_DEATH(ProductInto(c, {a}, {a, Transpose::kYes}, 0, {MatmulFormat::kBF16}, {}), "f64");
}

}  // namespace
}  // namespace choir
