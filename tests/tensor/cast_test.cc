#include "tensor/cast.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace choir {
namespace {

std::vector<float> RandomBitPatterns(int64_t n) {
  const CounterRandom random(5, "patterns");
  std::vector<float> x(static_cast<size_t>(n));
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = std::bit_cast<float>(static_cast<uint32_t>(random.Bits(i)));
  }
  return x;
}

// The definition in the header, block by block.
uint32_t TwinBits(uint64_t seed, const std::string& stream, uint64_t step, uint64_t i) {
  PhiloxBlocks blocks;
  CounterRandom(seed, stream, step).Blocks(16 * (i / 128) + i % 16, blocks);
  const uint64_t s = i / 16 % 8;
  return (blocks.word[s / 2][0] >> (s % 2 * 16)) & 0xffff;
}

TEST(CastBFloat16, ToNearestAsOneByOne) {
  const std::vector<float> x = RandomBitPatterns(100'003);
  std::vector<BFloat16> y(x.size());
  RoundToBFloat16(x.data(), y.data(), static_cast<int64_t>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(y[i], ToBFloat16(x[i])) << x[i];
  std::vector<float> back(x.size());
  ToFloats(y.data(), back.data(), static_cast<int64_t>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(back[i]), uint32_t{y[i].bits} << 16);
  }
}

TEST(CastBFloat16, EveryCodeStays) {
  std::vector<BFloat16> codes(65536), again(65536);
  std::vector<float> x(65536);
  for (size_t i = 0; i < codes.size(); ++i) codes[i].bits = static_cast<uint16_t>(i);
  ToFloats(codes.data(), x.data(), 65536);
  for (const bool stochastic : {false, true}) {
    if (stochastic) {
      StochasticToBFloat16(x.data(), again.data(), 65536, CounterRandom(1, "s"), 77);
    } else {
      RoundToBFloat16(x.data(), again.data(), 65536);
    }
    for (size_t i = 0; i < codes.size(); ++i) {
      // A signalling NaN becomes quiet.
      const uint32_t quiet = std::isnan(x[i]) ? 0x40 : 0;
      ASSERT_EQ(again[i].bits, i | quiet) << stochastic;
    }
  }
}

TEST(CastBFloat16, StochasticIsTheTwinHoweverItIsCut) {
  const std::vector<float> x = RandomBitPatterns(1000);
  const CounterRandom random(9, "w", 4);
  const uint64_t first = (uint64_t{1} << 33) + 13;
  std::vector<BFloat16> whole(x.size()), cut(x.size());
  StochasticToBFloat16(x.data(), whole.data(), 1000, random, first);
  for (size_t i = 0; i < x.size(); ++i) {
    const auto u = std::bit_cast<uint32_t>(x[i]);
    const uint32_t bits = TwinBits(9, "w", 4, first + i);
    ASSERT_EQ(StochasticBits(random, first + i), bits);
    const uint32_t up = std::isnan(x[i]) ? 0 : (u & 0xffff) + bits >= 65536;
    const uint32_t quiet = std::isnan(x[i]) ? 0x40 : 0;
    ASSERT_EQ(whole[i].bits, ((u >> 16) + up) | quiet) << i;
  }
  for (const int64_t step : {1, 7, 16, 128, 300}) {
    for (int64_t i = 0; i < 1000; i += step) {
      StochasticToBFloat16(x.data() + i, cut.data() + i, std::min(step, 1000 - i), random,
                           first + static_cast<uint64_t>(i));
    }
    ASSERT_EQ(cut, whole) << step;
  }
}

// The mean over n draws of a step of 1 has a standard deviation of sqrt(p (1 - p) / n); 6 of them
// are exceeded with chance 2e-9.
TEST(CastBFloat16, StochasticIsUnbiased) {
  constexpr int64_t kDraws = 1 << 16;
  std::vector<float> x(kDraws);
  std::vector<BFloat16> y(kDraws);
  for (const uint32_t dropped : {0u, 1u, 0x1234u, 0x7fffu, 0x8000u, 0xfff0u, 0xffffu}) {
    for (const uint32_t upper : {0x3f80u, 0xc2fdu, 0x0001u, 0x7f7eu}) {
      std::fill(x.begin(), x.end(), std::bit_cast<float>(upper << 16 | dropped));
      StochasticToBFloat16(x.data(), y.data(), kDraws, CounterRandom(dropped, "mean", upper), 0);
      int64_t ups = 0;
      for (const BFloat16 v : y) {
        ASSERT_TRUE(v.bits == upper || v.bits == upper + 1);
        ups += v.bits - static_cast<int64_t>(upper);
      }
      const double p = dropped / 65536.0;
      const double bound = 6 * std::sqrt(p * (1 - p) / kDraws);
      EXPECT_NEAR(static_cast<double>(ups) / kDraws, p, bound) << dropped << " " << upper;
    }
  }
}

}  // namespace
}  // namespace choir
