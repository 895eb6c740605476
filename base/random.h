// Counter-based random numbers: value = f(seed, stream, step, index), with no state that a
// checkpoint would have to keep and no order of drawing, so that every layout sees the same bits.
//
// The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). Its 128-bit counter is (index, step); its 64-bit key is XXH3-64 over the
// eight bytes of the seed followed by the stream's name. Philox is a bijection of the counter for
// each key, and the counter holds index and step whole: inside one (seed, stream) all blocks
// differ, and two different (seed, stream) share their key only with chance 2^-64.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace choir {

// One block of Philox4x32-10.
std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// Blocks of neighbouring counters, word by word: word w of block i is word[w][i].
inline constexpr int kBlockRun = 16;
struct PhiloxBlocks {
  alignas(64) std::array<std::array<uint32_t, kBlockRun>, 4> word;
};

// The numbers of one stream (for example a parameter's name) at one step. All methods are pure;
// those of the same index draw on the same block, so use one of them per (stream, index).
class CounterRandom {
 public:
  CounterRandom(uint64_t seed, std::string_view stream, uint64_t step = 0);

  // 64 uniform bits.
  uint64_t Bits(uint64_t index) const;
  // Uniform in [0, 1), a multiple of 2^-53.
  double Uniform(uint64_t index) const;
  // Standard normal (Box-Muller over the 128 bits of this index alone), within +-8.6.
  double Normal(uint64_t index) const;
  // Uniform in [0, n), n > 0; the bias is below 2^-64 for every n.
  uint64_t Below(uint64_t index, uint64_t n) const;
  // All bits of indices [first, first + kBlockRun), computed together: about 8 times as fast as one
  // by one. Past 2^64 the index starts again from 0.
  void Blocks(uint64_t first, PhiloxBlocks& blocks) const;

 private:
  std::array<uint32_t, 4> Block(uint64_t index) const;

  std::array<uint32_t, 2> key_;
  uint64_t step_;
};

// A pseudo-random permutation of [0, n), n <= 2^62, computed and not stored: a balanced Feistel
// network over the smallest power of four that holds n, walked along its cycle until the value
// falls below n (Black and Rogaway: "Ciphers with arbitrary finite domains", 2002).
class Permutation {
 public:
  Permutation(uint64_t n, uint64_t seed, std::string_view stream, uint64_t epoch);

  // The image of i < n.
  uint64_t operator()(uint64_t i) const;

 private:
  static constexpr int kRounds = 10;

  uint64_t Encrypt(uint64_t x) const;

  uint64_t n_;
  int half_bits_;
  std::array<uint64_t, kRounds> keys_;
};

}  // namespace choir
