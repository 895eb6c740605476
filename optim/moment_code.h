// Codes of 8 bits for the optimizer's moments, with one scale for each block, after Dettmers et al.
// 2022 ("8-bit optimizers via block-wise quantization"); the map is our own.
//
// A block x of n numbers is stored as scale = max(largest |x|, a floor) and codes of y = |x| /
// scale, on a logarithmic map: code 0 is 0, code c of 1..L is
//   T(c) = 2^(-kCodeOctaves (L - c) / (L - 1)),
// so T(L) = 1 and T(1) = 2^-16. Numbers with a sign have L = 127 and the sign in bit 7, those
// without have L = 255. For every y in [T(1), 1] rounding to a neighbour is wrong by less than
//   T(c + 1) / T(c) - 1 = 2^(16 / (L - 1)) - 1:  9.2 % (L = 127), 4.5 % (L = 255)
// of y, and to the nearest by at most half of that. Dettmers' dynamic map has this error at the
// top of a block only; far from the top its error reaches 100 %.
//
// Second moments are coded by their roots (L = 255), which are what an update divides by. A root
// that is not zero never becomes zero: below T(1) it becomes T(1). So beside one large gradient a
// small one gets too small an update, never one that is divided by nothing.
//
// Stochastic rounding keeps the mean of the root, at the price of noise: each step adds a variance
// of gap^2 / 6 on average (gap 4.5 %), of which the decay forgets 1 - beta2, so a root wanders by
// gap / sqrt(6 (1 - beta2)): 8 % at beta2 = 0.95, 18 % at 0.99, 58 % at 0.999. Above 0.99 take
// bf16. Floors of the scales: 2^-100, and 2^-47 for roots, so that the square of the smallest coded
// root is a normal number and reading a block and coding it again gives the same codes.
#pragma once

#include <cstdint>

#include "base/random.h"

namespace choir {

inline constexpr double kCodeOctaves = 16;

struct CodedBlock {
  uint8_t* codes;
  float* scale;
};

// Stores n numbers, at most kMomentBlock (optim/run_grid.h). Each takes one of its two neighbours
// on the map, up with the probability that makes the mean exact (to 2^-14 of their distance);
// element i draws bits first_index + i of `random`.
void EncodeSigned(const float* x, int64_t n, const CodedBlock& to, const CounterRandom& random,
                  uint64_t first_index);
void EncodeRoots(const float* squares, int64_t n, const CodedBlock& to, const CounterRandom& random,
                 uint64_t first_index);
// The same, to the nearest on the map.
void EncodeSignedNearest(const float* x, int64_t n, const CodedBlock& to);
void EncodeRootsNearest(const float* squares, int64_t n, const CodedBlock& to);
// What the codes stand for; squares of coded roots.
void DecodeSigned(const CodedBlock& from, int64_t n, float* x);
void DecodeRoots(const CodedBlock& from, int64_t n, float* squares);

}  // namespace choir
