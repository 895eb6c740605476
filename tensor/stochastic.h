// The loop of stochastic rounding: hands every element its bits, many blocks at a time.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/random.h"

namespace choir {

// Elements that one run of blocks serves, and those that draw the same bits of 16 blocks.
inline constexpr int64_t kStochasticRun = 128, kStochasticRow = kBlockRun;

// Calls body(begin, count, draws) for ranges of [0, n), ascending: draws[i] are the 16 bits of
// element begin + i, whose index is first_index + begin + i. At most kStochasticRun at a time, so
// that the draws stay in the first-level cache and the body's loop becomes vector code.
template <class Body>
inline void ForEachStochasticRun(const CounterRandom& random, uint64_t first_index, int64_t n,
                                 const Body& body) {
  PhiloxBlocks blocks;
  std::array<uint32_t, kStochasticRun> draws;
  for (int64_t begin = 0; begin < n;) {
    const uint64_t index = first_index + static_cast<uint64_t>(begin);
    const auto skipped = static_cast<int64_t>(index % kStochasticRun);
    const int64_t count = std::min(kStochasticRun - skipped, n - begin);
    random.Blocks((index / kStochasticRun) * kBlockRun, blocks);
    for (size_t row = 0; row < kStochasticRun / kStochasticRow; ++row) {
      const uint32_t shift = row % 2 * 16;
      for (size_t i = 0; i < kStochasticRow; ++i) {
        draws[row * kStochasticRow + i] = (blocks.word[row / 2][i] >> shift) & 0xffff;
      }
    }
    body(begin, count, draws.data() + skipped);
    begin += count;
  }
}

// The same one by one: body(i, draw) for i in [0, n), ascending.
template <class Body>
inline void ForEachStochastic(const CounterRandom& random, uint64_t first_index, int64_t n,
                              const Body& body) {
  ForEachStochasticRun(random, first_index, n,
                       [&body](int64_t begin, int64_t count, const uint32_t* draws) {
                         for (int64_t i = 0; i < count; ++i) body(begin + i, draws[i]);
                       });
}

}  // namespace choir
