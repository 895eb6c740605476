// Shorter sequences early in training: rows are cut into shorter rows with the same tokens, so that
// the order of the data and the labels of every step are those of a run without the ramp (Li et al.
// 2022, "The stability-efficiency dilemma").
#pragma once

#include <cstdint>

#include "data/loader/batch.h"
#include "train/config.h"

namespace choir {

// Pieces that each row of step `step` (from 0) is cut into: a power of two. The length doubles at
// equal times, from start_length at step 0 to data.sequence_length at step length_ramp.steps.
int64_t LengthPieces(const RunConfig& config, int64_t step);

// The batch with each row cut into `pieces` (which divide its length). Documents end at a cut:
// attention does not look across it and positions start again from 0; the label of the token before
// it stays. Tokens, labels and languages are views of the batch's.
Batch CutRows(const Batch& batch, int64_t pieces);

}  // namespace choir
