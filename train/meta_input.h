// A microbatch for the meta device, where only its shape counts.
#pragma once

#include "model/transformer.h"

namespace choir {

// One sequence of `length` tokens, which are one document.
ModelInput MetaInput(int64_t length);

}  // namespace choir
