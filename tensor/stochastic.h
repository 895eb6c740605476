// The loop of stochastic rounding: hands every element its bits, many blocks at a time.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/random.h"

namespace choir {

// Elements that one run of blocks serves, and those that draw the same bits of 16 blocks.
inline constexpr int64_t kStochasticRun = 128, kStochasticRow = kBlockRun;

// Calls body(i, bits) for i in [0, n), ascending, with the bits of index first_index + i. The inner
// loop of the common case has a fixed length, so that it becomes vector code once body is inlined.
template <class Body>
inline void ForEachStochastic(const CounterRandom& random, uint64_t first_index, int64_t n,
                              const Body& body) {
  PhiloxBlocks blocks;
  for (int64_t begin = 0; begin < n;) {
    const uint64_t index = first_index + static_cast<uint64_t>(begin);
    const auto skipped = static_cast<int64_t>(index % kStochasticRun);
    const int64_t count = std::min(kStochasticRun - skipped, n - begin);
    random.Blocks((index / kStochasticRun) * kBlockRun, blocks);
    if (count == kStochasticRun) {
      for (size_t row = 0; row < kStochasticRun / kStochasticRow; ++row) {
        const std::array<uint32_t, kBlockRun>& word = blocks.word[row / 2];
        const uint32_t shift = row % 2 * 16;
        const int64_t offset = begin + static_cast<int64_t>(row) * kStochasticRow;
        for (int64_t i = 0; i < kStochasticRow; ++i) {
          body(offset + i, (word[static_cast<size_t>(i)] >> shift) & 0xffff);
        }
      }
    } else {
      for (int64_t i = skipped; i < skipped + count; ++i) {
        const int64_t row = i / kStochasticRow;
        const uint32_t word = blocks.word[static_cast<size_t>(row / 2)][i % kStochasticRow];
        body(begin + i - skipped, (word >> (row % 2 * 16)) & 0xffff);
      }
    }
    begin += count;
  }
}

}  // namespace choir
