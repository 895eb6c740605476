// The `precision:` section on a model.
#pragma once

#include <string>

#include "model/transformer.h"
#include "optim/precision.h"
#include "train/config.h"

namespace choir {

ParameterPrecision PrecisionOf(const RunConfig& config, const std::string& name,
                               const Shape& whole);
// Sets what products and results are rounded to.
void ApplyPrecision(const RunConfig& config, Transformer& model);
// The table of the whole model. `config` is resolved.
std::string DescribePrecision(const RunConfig& config);

}  // namespace choir
