// What a rank keeps from step to step, measured.
#pragma once

#include <cstdint>
#include <string>

#include "train/trainer.h"

namespace choir {

// Bytes of tensors as they were allocated, without the allocator's rounding (tensor/memory.h).
struct StateBytes {
  int64_t parameters = 0;  // of this rank's part of the model, number
  int64_t weights = 0;     // what is computed with: whole values, or shards of them (ZeRO 3)
  int64_t gradients = 0;   // whole ones and shards
  int64_t optimizer = 0;   // masters and moments
  int64_t average = 0;     // optim.ema
};
StateBytes MeasureState(Trainer& trainer);

// One line, for people: bytes for each of this rank's parameters.
std::string Describe(const StateBytes& bytes);

}  // namespace choir
