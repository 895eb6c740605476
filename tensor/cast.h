// Casts of arrays between float and the formats with fewer bits, on the calling thread; a caller
// with many elements cuts them over its threads. The bits of an element depend on that element (and
// on its index, where rounding is stochastic) alone.
#pragma once

#include <cstdint>

#include "base/random.h"
#include "tensor/float16.h"

namespace choir {

// Stochastic rounding takes one of the two neighbours of x in the format; away from zero with
// probability floor(2^16 f) / 2^16, where f is the part of the way from the nearer to zero to the
// other that x has gone. So the mean is x, up to 2^-16 of a step; exactly x for bfloat16 and
// binary16, which drop no more than 16 bits (their subnormals aside). What the format holds stays
// as it is. A finite x past the largest value of a format with infinities may become one.
//
// Element i of a stream draws 16 bits, whatever the format: bits [16 s, 16 s + 16) of block
// 16 (i / 128) + i % 16 of `random`, where s = i / 16 % 8 (bit b of a block is bit b % 32 of word
// b / 32). So one block serves 8 elements, and 16 neighbours draw from 16 neighbouring blocks.
uint32_t StochasticBits(const CounterRandom& random, uint64_t index);

// To nearest, ties to even; NaN stays NaN, overflow becomes infinity (as ToBFloat16 of each).
void RoundToBFloat16(const float* from, BFloat16* to, int64_t n);
// Element i draws with index first_index + i.
void StochasticToBFloat16(const float* from, BFloat16* to, int64_t n, const CounterRandom& random,
                          uint64_t first_index);
// Exact.
void ToFloats(const BFloat16* from, float* to, int64_t n);

}  // namespace choir
