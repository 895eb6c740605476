// Lengths of documents for the benchmarks.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "base/random.h"

namespace choir {

// Tokens of documents as a web corpus has them: lognormal, mean about 970.
inline std::vector<int64_t> WebLengths(uint64_t count) {
  const CounterRandom random(1, "lengths");
  std::vector<int64_t> lengths;
  lengths.reserve(count);
  for (uint64_t d = 0; d < count; ++d) {
    const double n = std::exp(6.1 + 1.25 * random.Normal(d));
    lengths.push_back(static_cast<int64_t>(std::clamp(n, 8.0, 200'000.0)));
  }
  return lengths;
}

}  // namespace choir
