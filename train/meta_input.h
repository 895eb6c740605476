// Batches and microbatches for the meta device, where only shapes count.
#pragma once

#include <vector>

#include "data/loader/batch.h"
#include "data/loader/loader.h"
#include "model/transformer.h"

namespace choir {

// The rows of `rows` with `length` tokens, all of them labels; `bounds` as Batch::cu_seqlens,
// empty: every row is one document.
Batch MetaBatch(const StepRows& rows, int64_t length, std::vector<int32_t> bounds);

// One sequence of `length` tokens, which are one document.
ModelInput MetaInput(int64_t length);

}  // namespace choir
