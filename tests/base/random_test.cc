#include "base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "base/hash.h"

namespace choir {
namespace {

using Block = std::array<uint32_t, 4>;

// The known answers published with the Random123 library.
TEST(Philox, KnownAnswers) {
  const uint32_t ones = 0xffffffff;
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({ones, ones, ones, ones}, {ones, ones}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// The twin: block i holds the 64 bits that Bits gives, and all 128 are Philox's own.
TEST(CounterRandom, BlocksAreThoseOfEachIndex) {
  const CounterRandom random(11, "blocks", (uint64_t{3} << 32) + 5);
  for (const uint64_t first : {uint64_t{0}, (uint64_t{1} << 32) - 7, ~uint64_t{0} - 3}) {
    PhiloxBlocks blocks;
    random.Blocks(first, blocks);
    for (uint64_t i = 0; i < kBlockRun; ++i) {
      ASSERT_EQ(blocks.word[0][i] | uint64_t{blocks.word[1][i]} << 32, random.Bits(first + i));
    }
  }
  const uint64_t key = HashOf64(std::string(8, '\0') + "k");
  PhiloxBlocks blocks;
  CounterRandom(0, "k", 6).Blocks(9, blocks);
  const Block twin = Philox4x32({9, 0, 6, 0}, {uint32_t(key), uint32_t(key >> 32)});
  for (size_t w = 0; w < 4; ++w) EXPECT_EQ(blocks.word[w][0], twin[w]);
}

TEST(CounterRandom, EveryPartOfTheNameMatters) {
  std::set<uint64_t> seen;
  int draws = 0;
  const uint64_t high = uint64_t{1} << 32;
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, high}) {
    for (const char* stream : {"", "w1", "w2", "1w"}) {
      for (const uint64_t step : {uint64_t{0}, uint64_t{1}, high}) {
        for (const uint64_t index : {uint64_t{0}, uint64_t{1}, high}) {
          seen.insert(CounterRandom(seed, stream, step).Bits(index));
          ++draws;
        }
      }
    }
  }
  EXPECT_EQ(static_cast<int>(seen.size()), draws);
  EXPECT_EQ(CounterRandom(3, "w", 4).Bits(5), CounterRandom(3, "w", 4).Bits(5));
}

// Values that checkpoints and other machines rely on; computed independently from the definition
// in random.h. They must never change.
TEST(CounterRandom, IsStable) {
  const CounterRandom random(42, "embedding", 7);
  EXPECT_EQ(random.Bits(0), 0x388e9b3da47d6364u);
  EXPECT_EQ(random.Bits(uint64_t{1} << 40), 0xf1ec40a10ccceaa2u);
}

// Neighbouring indices, steps and seeds must differ in half of their bits on average.
TEST(CounterRandom, NeighboursAreUnrelated) {
  constexpr int kDraws = 20000;
  int64_t by_index = 0, by_step = 0, by_seed = 0;
  const CounterRandom base(1, "x", 0), next_step(1, "x", 1), next_seed(2, "x", 0);
  for (int i = 0; i < kDraws; ++i) {
    by_index += std::popcount(base.Bits(i) ^ base.Bits(i + 1));
    by_step += std::popcount(base.Bits(i) ^ next_step.Bits(i));
    by_seed += std::popcount(base.Bits(i) ^ next_seed.Bits(i));
  }
  const double deviation = 6 * std::sqrt(64 * 0.25 * kDraws);  // six sigma of a binomial sum
  for (const int64_t flips : {by_index, by_step, by_seed}) {
    EXPECT_NEAR(static_cast<double>(flips), 32.0 * kDraws, deviation);
  }
}

TEST(CounterRandom, UniformIsUniform) {
  constexpr int kDraws = 200000, kBins = 64;
  const CounterRandom random(9, "uniform");
  std::vector<int> bins(kBins);
  for (int i = 0; i < kDraws; ++i) {
    const double u = random.Uniform(i);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    ++bins[static_cast<int>(u * kBins)];
  }
  double chi2 = 0;
  const double expected = static_cast<double>(kDraws) / kBins;
  for (const int count : bins) chi2 += (count - expected) * (count - expected) / expected;
  EXPECT_NEAR(chi2, kBins - 1, 6 * std::sqrt(2.0 * (kBins - 1)));
}

TEST(CounterRandom, NormalHasItsMomentsAndTails) {
  constexpr int kDraws = 400000;
  const CounterRandom random(11, "normal");
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0, beyond2 = 0, pair = 0, last = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = random.Normal(i);
    ASSERT_LT(std::abs(x), 8.6);
    m1 += x;
    m2 += x * x;
    m3 += x * x * x;
    m4 += x * x * x * x;
    beyond2 += std::abs(x) > 2;
    pair += x * last;
    last = x;
  }
  // Six standard errors: Var x = 1, Var x^2 = 2, Var x^3 = 15, Var x^4 = 96.
  const double error = 6 / std::sqrt(static_cast<double>(kDraws));
  EXPECT_NEAR(m1 / kDraws, 0, error);
  EXPECT_NEAR(m2 / kDraws, 1, error * std::sqrt(2));
  EXPECT_NEAR(m3 / kDraws, 0, error * std::sqrt(15));
  EXPECT_NEAR(m4 / kDraws, 3, error * std::sqrt(96));
  EXPECT_NEAR(beyond2 / kDraws, 0.04550026, error * std::sqrt(0.0455));
  EXPECT_NEAR(pair / kDraws, 0, error);
}

TEST(CounterRandom, BelowIsUniformAndInRange) {
  const CounterRandom random(5, "below");
  constexpr int kDraws = 70000, kN = 7;
  std::vector<int> bins(kN);
  for (int i = 0; i < kDraws; ++i) ++bins.at(random.Below(i, kN));
  for (const int count : bins) EXPECT_NEAR(count, kDraws / kN, 6 * std::sqrt(kDraws / 7.0));
  const uint64_t huge = (uint64_t{3} << 62) + 1;
  int upper = 0;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_LT(random.Below(i, huge), huge);
    upper += random.Below(i, huge) >= huge / 2;
    EXPECT_EQ(random.Below(i, 1), 0u);
  }
  EXPECT_NEAR(upper, 500, 6 * std::sqrt(250.0));
}

TEST(CounterRandomDeathTest, BelowZeroIsRefused) {
  EXPECT_DEATH(CounterRandom(1, "x").Below(0, 0), "CHECK failed: n > 0u");
}

TEST(Permutation, IsABijectionForEverySmallSize) {
  for (uint64_t n = 0; n <= 300; ++n) {
    const Permutation permute(n, 3, "source", 1);
    std::vector<bool> hit(n);
    for (uint64_t i = 0; i < n; ++i) {
      const uint64_t image = permute(i);
      ASSERT_LT(image, n);
      ASSERT_FALSE(hit[image]) << n << " " << i;
      hit[image] = true;
    }
  }
}

TEST(Permutation, IsABijectionAroundPowersOfFour) {
  for (const uint64_t n : {65535u, 65536u, 65537u, 100000u}) {
    const Permutation permute(n, 1, "s", 0);
    std::vector<bool> hit(n);
    for (uint64_t i = 0; i < n; ++i) {
      const uint64_t image = permute(i);
      ASSERT_LT(image, n);
      ASSERT_FALSE(hit[image]);
      hit[image] = true;
    }
  }
}

TEST(Permutation, CoversHugeRangesEvenly) {
  for (const uint64_t n : {uint64_t{1} << 62, (uint64_t{1} << 61) + 12345}) {
    const Permutation permute(n, 1, "s", 0);
    std::set<uint64_t> images;
    int upper = 0;
    for (uint64_t i = 0; i < 4000; ++i) {
      const uint64_t image = permute(i);
      ASSERT_LT(image, n);
      images.insert(image);
      upper += image >= n / 2;
    }
    EXPECT_EQ(images.size(), 4000u);
    EXPECT_NEAR(upper, 2000, 6 * std::sqrt(1000.0));
  }
}

TEST(Permutation, DependsOnSeedStreamAndEpochAndLooksRandom) {
  constexpr uint64_t kN = 5000;
  const Permutation base(kN, 1, "s", 0);
  const Permutation others[] = {{kN, 2, "s", 0}, {kN, 1, "t", 0}, {kN, 1, "s", 1}};
  for (const Permutation& other : others) {
    int same = 0;
    for (uint64_t i = 0; i < kN; ++i) same += base(i) == other(i);
    EXPECT_LE(same, 10);  // about one is expected
  }
  // Neighbours land independently: mean distance n/3 (standard deviation n/sqrt(18)).
  double distance = 0;
  for (uint64_t i = 0; i + 1 < kN; ++i) {
    distance += std::abs(static_cast<double>(base(i)) - static_cast<double>(base(i + 1)));
  }
  const double n = kN;
  EXPECT_NEAR(distance / (n - 1), n / 3, 6 * n / std::sqrt(18 * n) * std::sqrt(2.0));
}

// All orders of three elements occur about equally often over the seeds.
TEST(Permutation, TinyDomainsReachEveryOrder) {
  std::vector<int> counts(27);
  constexpr int kSeeds = 6000;
  for (int seed = 0; seed < kSeeds; ++seed) {
    const Permutation permute(3, seed, "s", 0);
    ++counts[permute(0) * 9 + permute(1) * 3 + permute(2)];
  }
  int orders = 0;
  for (const int count : counts) {
    if (count == 0) continue;
    ++orders;
    EXPECT_NEAR(count, kSeeds / 6, 6 * std::sqrt(kSeeds / 6.0));
  }
  EXPECT_EQ(orders, 6);
}

TEST(PermutationDeathTest, RefusesWhatItCannotPermute) {
  EXPECT_DEATH(Permutation(0, 1, "s", 0)(0), "CHECK failed: i < n_");
  EXPECT_DEATH(Permutation((uint64_t{1} << 62) + 1, 1, "s", 0), "CHECK failed: n <=");
}

}  // namespace
}  // namespace choir
