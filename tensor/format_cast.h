// Casts of arrays of floats to and from the codes of a number format, and rounding to its values,
// on the calling thread. `from` and `to` do not overlap, except that RoundTo may work in place. The
// result of an element depends on that element (and its index, where rounding is stochastic) alone.
//
// Rounding is to nearest, ties to even, or stochastic as tensor/cast.h says. Signs of zeros are
// kept. E8M0 has powers of two only: a tie goes to the larger one (no mantissa bit could be even),
// positive values below 2^-127 go to 2^-127, and zeros, negative values, infinities and NaN have
// no code but NaN; its stochastic rounding is between the two powers of two.
//
// What rounds to more than the largest finite value, and infinities (OFP8 1.0, conversion to
// narrower formats):
//   saturating       the largest finite value with the sign (E8M0: infinities are NaN);
//   not saturating   infinity where there is one, else NaN (E4M3, E8M0).
// E2M1 has neither and saturates always (MX 1.0, section 5.3.3).
// NaN stays NaN, with its sign; its payload is kept by bfloat16 only. E2M1 has none: a NaN becomes
// the largest value, so who encodes to it looks for NaN first (in MX the scale says NaN). RoundTo
// E2M1 keeps NaN.
#pragma once

#include <cstdint>

#include "base/random.h"
#include "tensor/number_format.h"

namespace choir {

struct CastOptions {
  bool saturate = false;
  // Stochastic rounding: element i draws with index first_index + i. Null: to nearest.
  const CounterRandom* random = nullptr;
  uint64_t first_index = 0;
};

// Codes of formats of 8 bits and fewer, one in each byte (E2M1: its lower half), and of 16 bits;
// CHECKs that the format has that many.
void Encode(NumberFormat format, const float* from, uint8_t* to, int64_t n,
            const CastOptions& options = {});
void Encode(NumberFormat format, const float* from, uint16_t* to, int64_t n,
            const CastOptions& options = {});
// Exact. Of a byte of E2M1 the upper half is not looked at.
void Decode(NumberFormat format, const uint8_t* from, float* to, int64_t n);
void Decode(NumberFormat format, const uint16_t* from, float* to, int64_t n);

// to[i] = the value that from[i] would have after Encode and Decode.
void RoundTo(NumberFormat format, const float* from, float* to, int64_t n,
             const CastOptions& options = {});

}  // namespace choir
