// Ranks that hold the same part of the training state must hold the same bits, in any numerics: a
// copy that has drifted is invisible to whoever reads another copy.
#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "train/trainer.h"

namespace choir {

// OK on all ranks, or on all the first difference: rank, tensor and element. `whole`: on rank 0
// every tensor of trainer.State(), by name. All ranks call it. Blocks.
absl::Status CheckCopies(Trainer& trainer, const std::map<std::string, Tensor>& whole);

}  // namespace choir
