#include "optim/moment_code.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "optim/run_grid.h"
#include "tensor/stochastic.h"

namespace choir {
namespace {

constexpr float kSignedFloor = 0x1p-100f, kRootFloor = 0x1p-47f;
constexpr uint32_t kHalf = 1 << 15;  // the bits of rounding to nearest

struct CodeMap {
  explicit CodeMap(int largest) : largest(largest) {
    for (int c = 1; c <= largest; ++c) {
      value[static_cast<size_t>(c)] =
          static_cast<float>(std::exp2(-kCodeOctaves * (largest - c) / (largest - 1)));
    }
    value[static_cast<size_t>(largest) + 1] = std::numeric_limits<float>::infinity();
    for (size_t c = 0; c < static_cast<size_t>(largest); ++c) {
      steps_per_gap[c] = 0x1p16f / (value[c + 1] - value[c]);
    }
  }
  int largest;
  std::array<float, 257> value{};          // the last stands for "beyond"
  std::array<float, 256> steps_per_gap{};  // 2^16 over the distance to the next value
};

const CodeMap& SignedMap() {
  static const CodeMap map(127);
  return map;
}
const CodeMap& RootMap() {
  static const CodeMap map(255);
  return map;
}

// log2 of a positive normal number, within 0.01.
inline float RoughLog2(float y) {
  const auto bits = std::bit_cast<int32_t>(y);
  const float mantissa = std::bit_cast<float>((bits & 0x7fffff) | 0x3f800000) - 1;
  const auto exponent = static_cast<float>((bits >> 23) - 127);
  return exponent + mantissa + 0.346f * mantissa * (1 - mantissa);
}

// The code of y >= 0, at most 1, rounded up when its way to the next code has gone further than
// `bits` of 2^16.
inline int Code(const CodeMap& map, float y, uint32_t bits) {
  const auto per_octave = static_cast<float>((map.largest - 1) / kCodeOctaves);
  // Off by one at most: the guess is within 0.01 * 16 codes.
  const float guess = static_cast<float>(map.largest) + RoughLog2(y) * per_octave;
  int c = static_cast<int>(std::clamp(guess, 0.0f, static_cast<float>(map.largest)));
  c += map.value[static_cast<size_t>(c) + 1] <= y ? 1 : 0;
  c -= map.value[static_cast<size_t>(c)] > y ? 1 : 0;
  const auto i = static_cast<size_t>(c);
  const float gone = (y - map.value[i]) * map.steps_per_gap[i];
  return c + (gone > static_cast<float>(bits) ? 1 : 0);
}

inline uint8_t SignedCode(const CodeMap& map, float x, float scale, uint32_t bits) {
  const int c = Code(map, std::abs(x) / scale, bits);
  return static_cast<uint8_t>(c | (x < 0 && c > 0 ? 0x80 : 0));
}

inline uint8_t RootCode(const CodeMap& map, float root, float scale, uint32_t bits) {
  const int c = Code(map, root / scale, bits);
  return static_cast<uint8_t>(c == 0 && root > 0 ? 1 : c);
}

float LargestMagnitude(const float* x, int64_t n) {
  float largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(x[i]));
  return largest;
}

// The scale of a block of zeros is zero; its codes are then the map's for 0 / floor.
float ScaleOf(const float* x, int64_t n, float floor) {
  const float largest = LargestMagnitude(x, n);
  return largest > 0 ? std::max(largest, floor) : 0;
}

// Calls code(i, bits) for every element, as ForEachStochastic does.
template <class ForEach>
void EncodeSignedWith(const float* x, int64_t n, const CodedBlock& to, const ForEach& for_each) {
  const CodeMap& map = SignedMap();
  *to.scale = ScaleOf(x, n, kSignedFloor);
  const float scale = std::max(*to.scale, kSignedFloor);
  for_each([&](int64_t i, uint32_t bits) { to.codes[i] = SignedCode(map, x[i], scale, bits); });
}

template <class ForEach>
void EncodeRootsWith(const float* squares, int64_t n, const CodedBlock& to,
                     const ForEach& for_each) {
  CHECK(n <= kMomentBlock);
  float roots[kMomentBlock];
  for (int64_t i = 0; i < n; ++i) roots[i] = std::sqrt(squares[i]);
  const CodeMap& map = RootMap();
  *to.scale = ScaleOf(roots, n, kRootFloor);
  const float scale = std::max(*to.scale, kRootFloor);
  for_each([&](int64_t i, uint32_t bits) { to.codes[i] = RootCode(map, roots[i], scale, bits); });
}

auto Nearest(int64_t n) {
  return [n](const auto& code) {
    for (int64_t i = 0; i < n; ++i) code(i, kHalf);
  };
}

auto Stochastic(int64_t n, const CounterRandom& random, uint64_t first_index) {
  return [n, &random, first_index](const auto& code) {
    ForEachStochastic(random, first_index, n, code);
  };
}

}  // namespace

void EncodeSigned(const float* x, int64_t n, const CodedBlock& to, const CounterRandom& random,
                  uint64_t first_index) {
  EncodeSignedWith(x, n, to, Stochastic(n, random, first_index));
}

void EncodeRoots(const float* squares, int64_t n, const CodedBlock& to, const CounterRandom& random,
                 uint64_t first_index) {
  EncodeRootsWith(squares, n, to, Stochastic(n, random, first_index));
}

void EncodeSignedNearest(const float* x, int64_t n, const CodedBlock& to) {
  EncodeSignedWith(x, n, to, Nearest(n));
}

void EncodeRootsNearest(const float* squares, int64_t n, const CodedBlock& to) {
  EncodeRootsWith(squares, n, to, Nearest(n));
}

void DecodeSigned(const CodedBlock& from, int64_t n, float* x) {
  const CodeMap& map = SignedMap();
  const float scale = *from.scale;
  for (int64_t i = 0; i < n; ++i) {
    const float y = map.value[from.codes[i] & 0x7f] * scale;
    x[i] = (from.codes[i] & 0x80) != 0 ? -y : y;
  }
}

void DecodeRoots(const CodedBlock& from, int64_t n, float* squares) {
  const CodeMap& map = RootMap();
  const float scale = *from.scale;
  for (int64_t i = 0; i < n; ++i) {
    const float root = map.value[from.codes[i]] * scale;
    squares[i] = root * root;
  }
}

}  // namespace choir
