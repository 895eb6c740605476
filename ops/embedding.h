// Table look-up by token.
#pragma once

#include <cstdint>

#include "ops/tape.h"

namespace choir {

// Where the table is a part of a larger one: rows [first_row, first_row + rows of the table) of
// `vocabulary` rows (0: the table is whole).
struct EmbeddingOptions {
  Tag tag = "embedding";
  int64_t first_row = 0;
  int64_t vocabulary = 0;
};

// y[t] = table[tokens[t] - first_row], zeros for tokens of other parts: `tokens` is i32[T] with
// values in [0, vocabulary) (CHECKed), `table` [V, C], y [T, C]; the y of all parts add up to that
// of the whole table. Backward adds into table.grad: the rows of one token are summed in double in
// the order of t (per leaf in invariant mode), so the result depends on nothing but the values.
Var Embedding(Tape& tape, const Tensor& tokens, Parameter& table,
              const EmbeddingOptions& options = {});

}  // namespace choir
