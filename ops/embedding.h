// Table look-up by token.
#pragma once

#include "ops/tape.h"

namespace choir {

// y[t] = table[tokens[t]]: `tokens` is i32[T] with values in [0, V) (CHECKed), `table` [V, C], y
// [T, C]. Backward adds into table.grad: the rows of one token are summed in double in the order
// of t, so the result depends on nothing but the values.
Var Embedding(Tape& tape, const Tensor& tokens, Parameter& table, const Tag& tag = "embedding");

}  // namespace choir
