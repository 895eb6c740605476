#include "tensor/cast.h"

#include <bit>

#include "tensor/stochastic.h"

namespace choir {
namespace {

constexpr uint32_t kInfinity = 0x7f800000, kMagnitude = 0x7fffffff;

// The upper half of u + addend; a NaN becomes a quiet one, with what of its payload fits.
inline uint16_t UpperHalf(uint32_t u, uint32_t addend) {
  const bool nan = (u & kMagnitude) > kInfinity;
  return static_cast<uint16_t>(nan ? (u >> 16) | 0x40 : (u + addend) >> 16);
}

}  // namespace

uint32_t StochasticBits(const CounterRandom& random, uint64_t index) {
  uint32_t bits = 0;
  ForEachStochastic(random, index, 1, [&](int64_t, uint32_t draw) { bits = draw; });
  return bits;
}

void RoundToBFloat16(const float* from, BFloat16* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const auto u = std::bit_cast<uint32_t>(from[i]);
    to[i].bits = UpperHalf(u, 0x7fff + ((u >> 16) & 1));
  }
}

void StochasticToBFloat16(const float* from, BFloat16* to, int64_t n, const CounterRandom& random,
                          uint64_t first_index) {
  ForEachStochasticRun(random, first_index, n,
                       [from, to](int64_t begin, int64_t count, const uint32_t* draws) {
                         const float* x = from + begin;
                         BFloat16* y = to + begin;
                         for (int64_t i = 0; i < count; ++i) {
                           y[i].bits = UpperHalf(std::bit_cast<uint32_t>(x[i]), draws[i]);
                         }
                       });
}

void ToFloats(const BFloat16* from, float* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    to[i] = std::bit_cast<float>(static_cast<uint32_t>(from[i].bits) << 16);
  }
}

}  // namespace choir
