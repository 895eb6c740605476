// Products with rounded operands, element by element: the twin of ops/low_product.h. It rounds by
// the casts of tensor/format_cast.h, which have a twin of their own.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "ops/low_product.h"
#include "tensor/format_cast.h"

namespace choir {

// Where a block of `block` elements begins and ends that holds element i.
inline std::pair<int64_t, int64_t> BlockOf(int64_t i, int64_t n, const SumPieces& pieces,
                                           int64_t block) {
  const std::vector<int64_t> whole = {0, n};
  const std::vector<int64_t>& p = pieces == nullptr ? whole : *pieces;
  size_t piece = 0;
  while (p[piece + 1] <= i) ++piece;
  const int64_t begin = p[piece] + (i - p[piece]) / block * block;
  return {begin, std::min(begin + block, p[piece + 1])};
}

// An operand as [other, k], whichever way it is stored.
struct TwinOperand {
  int64_t other = 0, k = 0;
  std::vector<float> exact;   // as given
  std::vector<float> values;  // codes
  std::vector<float> scales;  // of each element; 1 without scales

  size_t At(int64_t o, int64_t i) const { return static_cast<size_t>(o * k + i); }
  double Value(int64_t o, int64_t i) const {
    return static_cast<double>(values[At(o, i)]) * static_cast<double>(scales[At(o, i)]);
  }
};

inline float TwinScale(MatmulFormat format, float amax) {
  if (!std::isfinite(amax)) return std::nanf("");
  if (amax == 0) return 1;
  if (format == MatmulFormat::kFp8Block) return std::max(amax / 448, 0x1p-126f);
  return std::ldexp(1.0f, std::max(std::ilogb(amax) - 8, -127));
}

inline float TwinRound(NumberFormat format, float x) {
  float y;
  if (format == NumberFormat::kE4M3) {
    uint8_t code;
    Encode(format, &x, &code, 1, {.saturate = true});
    Decode(format, &code, &y, 1);
  } else {
    uint16_t code;
    Encode(format, &x, &code, 1);
    Decode(format, &code, &y, 1);
  }
  return y;
}

inline TwinOperand RoundTwin(const ProductOperand& operand, const OperandRounding& how,
                             const SumPieces& sum_pieces) {
  const Tensor& m = operand.matrix;
  TwinOperand twin;
  twin.other = m.dim(how.sum_in_rows ? 1 : 0);
  twin.k = m.dim(how.sum_in_rows ? 0 : 1);
  const auto stored = [&](int64_t o, int64_t i) {
    return m.data<float>()[how.sum_in_rows ? i * twin.other + o : o * twin.k + i];
  };
  const int64_t block = how.format == MatmulFormat::kMxfp8 ? kMxBlock : kFp8Block;
  const bool blocks = how.format == MatmulFormat::kMxfp8 || how.format == MatmulFormat::kFp8Block;
  std::map<std::pair<int64_t, int64_t>, float> scale_of_block;  // by its first element
  for (int64_t o = 0; o < twin.other; ++o) {
    for (int64_t i = 0; i < twin.k; ++i) {
      const float x = stored(o, i);
      twin.exact.push_back(x);
      if (!blocks) {
        const bool brain = how.format == MatmulFormat::kBF16;
        twin.values.push_back(TwinRound(brain ? NumberFormat::kBF16 : NumberFormat::kF16, x));
        twin.scales.push_back(1);
        continue;
      }
      const auto [first, last] = BlockOf(i, twin.k, sum_pieces, block);
      std::pair<int64_t, int64_t> others = {o, o + 1};
      if (how.square) others = BlockOf(o, twin.other, operand.other_pieces, block);
      const auto [known, is_new] = scale_of_block.try_emplace({others.first, first}, 0.0f);
      if (is_new) {
        float amax = 0;
        for (int64_t p = others.first; p < others.second; ++p) {
          for (int64_t j = first; j < last; ++j) {
            const float magnitude = std::abs(stored(p, j));
            if (!(magnitude <= amax) && !std::isnan(amax)) amax = magnitude;
          }
        }
        known->second = TwinScale(how.format, amax);
      }
      const float scale = known->second;
      const float value = TwinRound(NumberFormat::kE4M3, x / scale);
      twin.values.push_back(how.HasScales() ? value : value * scale);
      twin.scales.push_back(how.HasScales() ? scale : 1);
    }
  }
  return twin;
}

// One element of the product, in the order of invariant numerics.
inline float ChainTwin(const TwinOperand& a, const TwinOperand& b, int64_t i, int64_t j,
                       const SumPieces& pieces) {
  const std::vector<int64_t> whole = {0, a.k};
  const std::vector<int64_t>& bounds = pieces == nullptr ? whole : *pieces;
  std::vector<float> sums;
  for (size_t p = 0; p + 1 < bounds.size(); ++p) {
    float sum = 0, chain = 0;
    for (int64_t k = bounds[p]; k < bounds[p + 1]; ++k) {
      chain = std::fma(a.values[a.At(i, k)], b.values[b.At(j, k)], chain);
      const bool ends = (k + 1 - bounds[p]) % kFp8Block == 0 || k + 1 == bounds[p + 1];
      if (!ends) continue;
      const float scaled = chain * a.scales[a.At(i, k)];
      sum = std::fma(scaled, b.scales[b.At(j, k)], sum);
      chain = 0;
    }
    sums.push_back(sum);
  }
  for (; sums.size() > 1; sums.resize(sums.size() / 2)) {
    for (size_t p = 0; p < sums.size() / 2; ++p) sums[p] = sums[2 * p] + sums[2 * p + 1];
  }
  return sums[0];
}

// The same without scales: one chain for each piece.
inline float PlainChainTwin(const TwinOperand& a, const TwinOperand& b, int64_t i, int64_t j,
                            const SumPieces& pieces) {
  const std::vector<int64_t> whole = {0, a.k};
  const std::vector<int64_t>& bounds = pieces == nullptr ? whole : *pieces;
  std::vector<float> sums;
  for (size_t p = 0; p + 1 < bounds.size(); ++p) {
    float chain = 0;
    for (int64_t k = bounds[p]; k < bounds[p + 1]; ++k) {
      chain = std::fma(a.values[a.At(i, k)], b.values[b.At(j, k)], chain);
    }
    sums.push_back(chain);
  }
  for (; sums.size() > 1; sums.resize(sums.size() / 2)) {
    for (size_t p = 0; p < sums.size() / 2; ++p) sums[p] = sums[2 * p] + sums[2 * p + 1];
  }
  return sums[0];
}

}  // namespace choir
