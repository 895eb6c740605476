#include "base/random.h"

#include <bit>
#include <cmath>
#include <numbers>
#include <string>

#include "base/check.h"
#include "base/hash.h"

namespace choir {
namespace {

// Named, because -Wpedantic-clean code cannot spell the 128-bit type otherwise.
__extension__ using Uint128 = unsigned __int128;

constexpr int kRounds = 10;
constexpr uint32_t kMultiplierA = 0xD2511F53, kMultiplierB = 0xCD9E8D57;
constexpr uint32_t kWeylA = 0x9E3779B9, kWeylB = 0xBB67AE85;

uint64_t Join(uint32_t low, uint32_t high) { return low | (uint64_t{high} << 32); }

// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection in which every input bit
// reaches every output bit.
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t a = uint64_t{kMultiplierA} * counter[0];
    const uint64_t b = uint64_t{kMultiplierB} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += kWeylA;
    key[1] += kWeylB;
  }
  return counter;
}

CounterRandom::CounterRandom(uint64_t seed, std::string_view stream, uint64_t step) : step_(step) {
  std::string name;
  for (int byte = 0; byte < 8; ++byte) name += static_cast<char>(seed >> (8 * byte));
  const uint64_t key = HashOf64(name.append(stream));
  key_ = {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
}

std::array<uint32_t, 4> CounterRandom::Block(uint64_t index) const {
  return Philox4x32({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                     static_cast<uint32_t>(step_), static_cast<uint32_t>(step_ >> 32)},
                    key_);
}

void CounterRandom::Blocks(uint64_t first, PhiloxBlocks& blocks) const {
  // Arrays, one element for each block: the compiler makes vectors of them.
  std::array<std::array<uint32_t, kBlockRun>, 4>& c = blocks.word;
  for (int i = 0; i < kBlockRun; ++i) {
    const uint64_t index = first + static_cast<uint64_t>(i);
    c[0][i] = static_cast<uint32_t>(index);
    c[1][i] = static_cast<uint32_t>(index >> 32);
    c[2][i] = static_cast<uint32_t>(step_);
    c[3][i] = static_cast<uint32_t>(step_ >> 32);
  }
  std::array<uint32_t, 2> key = key_;
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < kBlockRun; ++i) {
      const uint64_t a = uint64_t{kMultiplierA} * c[0][i];
      const uint64_t b = uint64_t{kMultiplierB} * c[2][i];
      c[0][i] = static_cast<uint32_t>(b >> 32) ^ c[1][i] ^ key[0];
      c[1][i] = static_cast<uint32_t>(b);
      c[2][i] = static_cast<uint32_t>(a >> 32) ^ c[3][i] ^ key[1];
      c[3][i] = static_cast<uint32_t>(a);
    }
    key[0] += kWeylA;
    key[1] += kWeylB;
  }
}

uint64_t CounterRandom::Bits(uint64_t index) const {
  const auto block = Block(index);
  return Join(block[0], block[1]);
}

double CounterRandom::Uniform(uint64_t index) const {
  return static_cast<double>(Bits(index) >> 11) * 0x1p-53;
}

double CounterRandom::Normal(uint64_t index) const {
  const auto block = Block(index);
  // The first uniform lies in (0, 1], so that its logarithm is finite.
  const double u = static_cast<double>((Join(block[0], block[1]) >> 11) + 1) * 0x1p-53;
  const double v = static_cast<double>(Join(block[2], block[3]) >> 11) * 0x1p-53;
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

uint64_t CounterRandom::Below(uint64_t index, uint64_t n) const {
  CHECK(n > 0u);
  const auto block = Block(index);
  const Uint128 low = static_cast<Uint128>(Join(block[0], block[1])) * n;
  const Uint128 high = static_cast<Uint128>(Join(block[2], block[3])) * n;
  return static_cast<uint64_t>((high + (low >> 64)) >> 64);
}

Permutation::Permutation(uint64_t n, uint64_t seed, std::string_view stream, uint64_t epoch)
    : n_(n) {
  CHECK(n <= uint64_t{1} << 62);
  const int bits = n < 2 ? 0 : static_cast<int>(std::bit_width(n - 1));
  half_bits_ = bits < 2 ? 1 : (bits + 1) / 2;
  const CounterRandom random(seed, stream, epoch);
  for (int round = 0; round < kRounds; ++round) keys_[round] = random.Bits(round);
}

uint64_t Permutation::Encrypt(uint64_t x) const {
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t left = x >> half_bits_;
  uint64_t right = x & mask;
  for (const uint64_t key : keys_) {
    const uint64_t next = left ^ (Mix(right ^ key) >> (64 - half_bits_));
    left = right;
    right = next;
  }
  return (left << half_bits_) | right;
}

uint64_t Permutation::operator()(uint64_t i) const {
  CHECK(i < n_);
  // The cycle of i returns to i, which is below n: the walk ends.
  do i = Encrypt(i);
  while (i >= n_);
  return i;
}

}  // namespace choir
