// How each collective moves its bytes: coroutines over the messages of one Operation.
//
// Sums go one of two ways. A ring moves each segment once around and adds one member's part at
// every stop; pieces of a segment are passed on while the next ones arrive. The direct way sends
// every part to the member that owns the segment, which adds them all: in the order of the ring
// (fewer stops, for short messages) or as the canonical tree. Both send the same bytes, and a
// ring's order has the same bits either way.
#pragma once

#include "parallel/comm/operation.h"

namespace choir {

struct AlgorithmOptions {
  SumOrder sum_order = SumOrder::kRing;
  bool check = false;
};

// The whole call: the check of its description, if wanted, then its messages. Refers to
// `operation`.
Task RunCall(Operation& operation, AlgorithmOptions options);

}  // namespace choir
