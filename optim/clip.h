// Gradient norms and the factors that limit them.
#pragma once

#include <optional>
#include <span>

#include "ops/parameter.h"

namespace choir {

// Square root of the sum of squares of all gradients: summed in double, in the order of the list.
double GlobalGradNorm(std::span<Parameter* const> parameters);
// The factor that brings `norm` down to `limit`; 1 if it is below, or there is no limit.
double ClipScale(double norm, std::optional<double> limit);

}  // namespace choir
