// The gated activation of feed-forward layers (Shazeer 2020).
#pragma once

#include <optional>

#include "ops/tape.h"

namespace choir {

// y[t, f] = silu(gate) * up, silu(x) = x / (1 + e^-x). `gate_up` is [T, 2F] and interleaves the
// two: gate_0, up_0, gate_1, up_1, ..., so that a slab of columns is a slab of both. y is [T, F].
// With `clamp` c > 0 (DeepSeek-V4): gate = min(gate, c) before silu, up = clip(up, -c, c); values
// beyond the limit get no gradient. Backward saves gate_up.
Var SwiGlu(Tape& tape, const Var& gate_up, std::optional<double> clamp = {},
           const Tag& tag = "swiglu");

}  // namespace choir
