#include "ops/round_operand.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "base/check.h"
#include "ops/parallel_for.h"
#include "tensor/format_cast.h"
#include "tensor/round_element.h"

namespace choir {
namespace {

constexpr NumberFormat kElement = NumberFormat::kE4M3;
constexpr float kLargest = 448;
constexpr int kLargestExponent = 8;  // of kLargest
constexpr int64_t kColumnTask = 512;

uint32_t Magnitude(float x) { return std::bit_cast<uint32_t>(x) & kFloatMagnitude; }

// As bits of a float, which are in the order of the values, with infinities and NaN on top.
uint32_t LargestMagnitude(const float* x, int64_t n) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, Magnitude(x[i]));
  return largest;
}

// How the codes of a block are made from its largest magnitude.
struct Fp8Rule {
  static float Scale(uint32_t amax) {
    if (amax >= kFloatInfinity) return std::numeric_limits<float>::quiet_NaN();
    if (amax == 0) return 1;
    return std::max(std::bit_cast<float>(amax) / kLargest, std::numeric_limits<float>::min());
  }
  static float Round(float x, float scale) {
    return RoundElement<kElement, false>(x / scale, 0, /*saturate=*/true);
  }
};

struct MxRule {
  static float Scale(uint32_t amax) {
    if (amax >= kFloatInfinity) return std::numeric_limits<float>::quiet_NaN();
    if (amax == 0) return 1;
    const int exponent = static_cast<int>(amax >> 23) - 127 - kLargestExponent;
    const auto subnormal = std::bit_cast<float>(0x400000u);  // 2^-127
    return exponent <= -127 ? subnormal
                            : std::bit_cast<float>(static_cast<uint32_t>(exponent + 127) << 23);
  }
  // Division by a power of two and the product with it round nothing that stays.
  static float Round(float x, float scale) {
    return RoundElement<kElement, false>(x / scale, 0, /*saturate=*/true) * scale;
  }
};

template <class Rule>
void RoundRow(const float* from, float* to, int64_t n, float scale) {
  for (int64_t i = 0; i < n; ++i) to[i] = Rule::Round(from[i], scale);
}

// Strips along the columns of rows [begin, end).
template <class Rule>
void RoundRowStrips(const RoundArgs& a, const std::vector<int64_t>& bounds, int64_t begin,
                    int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    for (size_t b = 0; b + 1 < bounds.size(); ++b) {
      const int64_t at = r * a.columns + bounds[b], count = bounds[b + 1] - bounds[b];
      const float scale = Rule::Scale(LargestMagnitude(a.from + at, count));
      RoundRow<Rule>(a.from + at, a.to + at, count, scale);
      if (a.scales != nullptr) a.scales[static_cast<int64_t>(b) * a.scale_stride + r] = scale;
    }
  }
}

// Strips along rows [begin, end), block number `block`, of `count` columns from `first`.
template <class Rule>
void RoundColumnStrips(const RoundArgs& a, int64_t block, std::array<int64_t, 2> rows,
                       std::array<int64_t, 2> columns) {
  const int64_t first = columns[0], count = columns[1] - columns[0];
  std::array<uint32_t, kColumnTask> largest{};
  std::array<float, kColumnTask> scale;
  for (int64_t r = rows[0]; r < rows[1]; ++r) {
    const float* x = a.from + r * a.columns + first;
    for (int64_t c = 0; c < count; ++c) {
      const auto i = static_cast<size_t>(c);
      largest[i] = std::max(largest[i], Magnitude(x[c]));
    }
  }
  for (int64_t c = 0; c < count; ++c) {
    scale[static_cast<size_t>(c)] = Rule::Scale(largest[static_cast<size_t>(c)]);
  }
  for (int64_t r = rows[0]; r < rows[1]; ++r) {
    const float* x = a.from + r * a.columns + first;
    float* to = a.to + r * a.columns + first;
    for (int64_t c = 0; c < count; ++c) to[c] = Rule::Round(x[c], scale[static_cast<size_t>(c)]);
  }
  if (a.scales == nullptr) return;
  std::copy_n(scale.data(), count, a.scales + block * a.scale_stride + first);
}

template <class Rule>
void RoundStrips(const RoundArgs& a, int64_t block) {
  if (!a.how.sum_in_rows) {
    const std::vector<int64_t> bounds = BlockBounds(a.columns, a.sum_pieces, block);
    return ParallelRanges(a.rows, RowGrain(a.columns), [&](int64_t begin, int64_t end) {
      RoundRowStrips<Rule>(a, bounds, begin, end);
    });
  }
  const std::vector<int64_t> bounds = BlockBounds(a.rows, a.sum_pieces, block);
  const auto blocks = static_cast<int64_t>(bounds.size()) - 1;
  const int64_t across = (a.columns + kColumnTask - 1) / kColumnTask;
  ParallelFor(blocks * across, [&](int64_t i) {
    const int64_t b = i / across, column = i % across * kColumnTask;
    const auto at = static_cast<size_t>(b);
    RoundColumnStrips<Rule>(a, b, {bounds[at], bounds[at + 1]},
                            {column, std::min(column + kColumnTask, a.columns)});
  });
}

void RoundSquares(const RoundArgs& a) {
  const PieceBounds row_pieces = a.how.sum_in_rows ? a.sum_pieces : a.other_pieces;
  const PieceBounds column_pieces = a.how.sum_in_rows ? a.other_pieces : a.sum_pieces;
  const std::vector<int64_t> rows = BlockBounds(a.rows, row_pieces, kFp8Block);
  const std::vector<int64_t> columns = BlockBounds(a.columns, column_pieces, kFp8Block);
  const auto across = static_cast<int64_t>(columns.size()) - 1;
  ParallelFor((static_cast<int64_t>(rows.size()) - 1) * across, [&](int64_t i) {
    const auto r = static_cast<size_t>(i / across), c = static_cast<size_t>(i % across);
    const int64_t width = columns[c + 1] - columns[c];
    uint32_t largest = 0;
    for (int64_t row = rows[r]; row < rows[r + 1]; ++row) {
      largest = std::max(largest, LargestMagnitude(a.from + row * a.columns + columns[c], width));
    }
    const float scale = Fp8Rule::Scale(largest);
    for (int64_t row = rows[r]; row < rows[r + 1]; ++row) {
      const int64_t at = row * a.columns + columns[c];
      RoundRow<Fp8Rule>(a.from + at, a.to + at, width, scale);
    }
    const auto block = static_cast<int64_t>(a.how.sum_in_rows ? r : c);
    float* scales = a.scales + block * a.scale_stride;
    if (a.how.sum_in_rows) {
      std::fill(scales + columns[c], scales + columns[c + 1], scale);
    } else {
      std::fill(scales + rows[r], scales + rows[r + 1], scale);
    }
  });
}

void RoundElements(const RoundArgs& a, NumberFormat format) {
  ParallelRanges(a.rows * a.columns, kElementGrain, [&](int64_t begin, int64_t end) {
    RoundTo(format, a.from + begin, a.to + begin, end - begin);
  });
}

}  // namespace

std::vector<int64_t> BlockBounds(int64_t n, PieceBounds pieces, int64_t block) {
  const int64_t whole[] = {0, n};
  if (pieces.empty()) pieces = whole;
  CHECK(pieces.front() == 0 && pieces.back() == n)
      << "pieces end at " << pieces.back() << " of " << n;
  std::vector<int64_t> bounds = {0};
  for (size_t p = 0; p + 1 < pieces.size(); ++p) {
    for (int64_t begin = pieces[p]; begin < pieces[p + 1]; begin += block) {
      bounds.push_back(std::min(begin + block, pieces[p + 1]));
    }
  }
  return bounds;
}

OperandRounding RoundingOf(const MatmulPrecision& precision, OperandRole role, bool sum_in_rows) {
  const bool square = role == OperandRole::kWeight ||
                      (role == OperandRole::kGradient && precision.square_gradient_blocks);
  return {precision.format, square && precision.format == MatmulFormat::kFp8Block, sum_in_rows};
}

void RoundOperand(const RoundArgs& args) {
  CHECK(args.how.HasScales() == (args.scales != nullptr));
  switch (args.how.format) {
    case MatmulFormat::kBF16:
      return RoundElements(args, NumberFormat::kBF16);
    case MatmulFormat::kF16:
      return RoundElements(args, NumberFormat::kF16);
    case MatmulFormat::kFp8Block:
      return args.how.square ? RoundSquares(args) : RoundStrips<Fp8Rule>(args, kFp8Block);
    case MatmulFormat::kMxfp8:
      return RoundStrips<MxRule>(args, kMxBlock);
    case MatmulFormat::kFull:
      break;
  }
  CHECK(false) << "nothing to round";
}

}  // namespace choir
