// Check mode: before a collective's data, its members compare what they are about to do.
#pragma once

#include "parallel/comm/operation.h"

namespace choir {

// Exchanges descriptions with all members; a difference ends the job with both sides' operation,
// sizes and call site.
Task CheckCall(Operation& operation);

}  // namespace choir
