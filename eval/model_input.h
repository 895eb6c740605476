// From batches of the data pipeline to what a model reads.
#pragma once

#include <cstdint>

#include "data/loader/batch.h"
#include "model/transformer.h"

namespace choir {

// Rows [first, first + count) of a batch, which must be stored, as one microbatch: views of its
// tensors, and the document bounds of these rows.
ModelInput MicrobatchInput(const Batch& batch, int64_t first, int64_t count);

// (query, key) pairs that attention looks at: n (n + 1) / 2 for a document of n tokens. Segments of
// padding, which start without a label, are not counted.
double VisiblePairs(const ModelInput& input);
// The same of all rows of a batch, stored or not.
double VisiblePairs(const Batch& batch);

}  // namespace choir
