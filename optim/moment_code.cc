#include "optim/moment_code.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <iterator>

#include "base/check.h"
#include "ops/simd.h"
#include "optim/run_grid.h"
#include "tensor/stochastic.h"

namespace choir {
namespace {

constexpr float kSignedFloor = 0x1p-100f, kRootFloor = 0x1p-47f;
constexpr float kHalf = 0x1p15f;  // the bits of rounding to nearest

using Floats = Vec<float>;
using Ints = VecType<int32_t>::Type;
using Unsigned = VecType<uint32_t>::Type;
typedef uint8_t Bytes __attribute__((vector_size(kLanes)));

struct CodeMap {
  explicit CodeMap(int largest)
      : largest(static_cast<float>(largest)),
        per_octave(static_cast<float>((largest - 1) / kCodeOctaves)),
        gap(static_cast<float>(std::exp2(kCodeOctaves / (largest - 1)) - 1)) {
    for (int c = 1; c <= largest; ++c) {
      value[static_cast<size_t>(c)] =
          static_cast<float>(std::exp2(-kCodeOctaves * (largest - c) / (largest - 1)));
    }
  }
  float largest, per_octave;
  float gap;  // T(c + 1) / T(c) - 1
  std::array<float, 256> value{};
};

const CodeMap& SignedMap() {
  static const CodeMap map(127);
  return map;
}
const CodeMap& RootMap() {
  static const CodeMap map(255);
  return map;
}

template <class To, class From>
To Bits(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

// log2 of positive normal numbers: their exponent, and of the rest m in [0.7, 1.4] the series of
// 2 artanh((m - 1) / (m + 1)), within 2^-22.
Floats Log2(const Floats& y) {
  // Unsigned, because a negative zero, whose logarithm nobody looks at, wraps round.
  const Ints bits = Bits<Ints>(Bits<Unsigned>(y) - 0x3f3504f3u);  // of the root of a half
  const Ints exponent = bits >> 23;
  const Floats m = Bits<Floats>((bits & 0x7fffff) + 0x3f3504f3);
  const Floats s = (m - 1.0f) / (m + 1.0f), q = s * s;
  const Floats series = 1.0f + q * (1 / 3.0f + q * (1 / 5.0f + q * (1 / 7.0f)));
  return __builtin_convertvector(exponent, Floats) + 2.88539008f * s * series;
}

// Codes of numbers y of [0, 1], rounded up where their way to the next code has gone further than
// `bits` of 2^16. Between codes c and c + 1, at c + r on the logarithmic scale, the share of the
// way is (2^(r / per_octave) - 1) / gap; below code 1 it is y / T(1).
Ints Codes(const CodeMap& map, const Floats& y, const Floats& bits) {
  const Floats at = map.largest + Log2(y) * map.per_octave;
  const Floats clamped = Min<float>(Splat(map.largest), Max<float>(Splat(1.0f), at));
  const Ints code = __builtin_convertvector(clamped, Ints);  // towards zero
  const Floats rest = clamped - __builtin_convertvector(code, Floats);
  const Floats u = rest * (0.69314718f / map.per_octave);
  const Floats beyond = u * (1.0f + u * (1 / 2.0f + u * (1 / 6.0f + u * (1 / 24.0f))));
  const Floats gone = 0x1p16f / map.gap * beyond;
  const Floats of_first = y * (0x1p16f / map.value[1]);
  const Ints none{}, one = none + 1;
  const Ints low = of_first > bits ? one : none;
  const Ints high = code + (gone > bits ? one : none);
  return y < map.value[1] ? low : high;
}

Floats Magnitude(const Floats& x) { return Max<float>(x, -x); }

Floats Sqrt(Floats x) {
  for (int i = 0; i < kLanes; ++i) x[i] = std::sqrt(x[i]);
  return x;
}

float LargestMagnitude(const float* x, int64_t n) {
  Floats largest{};
  ForEachVec<float>(
      n, [&](int64_t, auto load, auto) { largest = Max<float>(largest, Magnitude(load(x))); });
  return MaxLanes<float>(largest);
}

// The scale of a block of zeros is zero.
float ScaleOf(const float* x, int64_t n, float floor) {
  const float largest = LargestMagnitude(x, n);
  return largest > 0 ? std::max(largest, floor) : 0;
}

void StoreBytes(uint8_t* to, const Ints& codes, int64_t n) {
  const Bytes bytes = __builtin_convertvector(codes, Bytes);
  if (n >= kLanes) {
    std::memcpy(to, &bytes, sizeof(bytes));
  } else {
    std::memcpy(to, &bytes, static_cast<size_t>(n));
  }
}

// `bits`: of every element.
void EncodeSignedWith(const float* x, int64_t n, const CodedBlock& to, const float* bits) {
  const CodeMap& map = SignedMap();
  *to.scale = ScaleOf(x, n, kSignedFloor);
  const float scale = std::max(*to.scale, kSignedFloor);
  ForEachVec<float>(n, [&](int64_t i, auto load, auto) {
    const Floats value = load(x);
    const Ints codes = Codes(map, Magnitude(value) / scale, load(bits)), none{};
    const Ints sign = value < Floats{} && codes > none ? none + 0x80 : none;
    StoreBytes(to.codes + i, codes | sign, n - i);
  });
}

void EncodeRootsWith(const float* squares, int64_t n, const CodedBlock& to, const float* bits) {
  CHECK(n <= kMomentBlock);
  alignas(64) float roots[kMomentBlock];
  ForEachVec<float>(n, [&](int64_t, auto load, auto store) { store(roots, Sqrt(load(squares))); });
  const CodeMap& map = RootMap();
  *to.scale = ScaleOf(roots, n, kRootFloor);
  const float scale = std::max(*to.scale, kRootFloor);
  ForEachVec<float>(n, [&](int64_t i, auto load, auto) {
    const Floats root = load(roots);
    const Ints codes = Codes(map, root / scale, load(bits)), none{};
    const Ints kept = root > Floats{} && codes == none ? none + 1 : codes;
    StoreBytes(to.codes + i, kept, n - i);
  });
}

struct BlockBits {
  alignas(64) float values[kMomentBlock];
};

BlockBits Nearest() {
  BlockBits bits;
  std::fill(std::begin(bits.values), std::end(bits.values), kHalf);
  return bits;
}

BlockBits Stochastic(int64_t n, const CounterRandom& random, uint64_t first_index) {
  CHECK(n <= kMomentBlock);
  BlockBits bits;
  ForEachStochastic(random, first_index, n, [&bits](int64_t i, uint32_t drawn) {
    bits.values[i] = static_cast<float>(drawn);
  });
  return bits;
}

}  // namespace

void EncodeSigned(const float* x, int64_t n, const CodedBlock& to, const CounterRandom& random,
                  uint64_t first_index) {
  EncodeSignedWith(x, n, to, Stochastic(n, random, first_index).values);
}

void EncodeRoots(const float* squares, int64_t n, const CodedBlock& to, const CounterRandom& random,
                 uint64_t first_index) {
  EncodeRootsWith(squares, n, to, Stochastic(n, random, first_index).values);
}

void EncodeSignedNearest(const float* x, int64_t n, const CodedBlock& to) {
  CHECK(n <= kMomentBlock);
  EncodeSignedWith(x, n, to, Nearest().values);
}

void EncodeRootsNearest(const float* squares, int64_t n, const CodedBlock& to) {
  EncodeRootsWith(squares, n, to, Nearest().values);
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
