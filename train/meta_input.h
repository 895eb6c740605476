// Batches and microbatches for the meta device, where only shapes count.
#pragma once

#include <vector>

#include "data/loader/batch.h"
#include "model/transformer.h"

namespace choir {

// `rows` rows of `length` tokens, all of them labels; `bounds` as Batch::cu_seqlens, empty: every
// row is one document.
Batch MetaBatch(int64_t rows, int64_t length, std::vector<int32_t> bounds);

// One sequence of `length` tokens, which are one document.
ModelInput MetaInput(int64_t length);

}  // namespace choir
