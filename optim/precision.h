// What every parameter gets from a PrecisionConfig: a table of tensor class x role -> format.
//
// Roles that no recipe changes: gradients are added up in F32, sums over ranks are of F32 (but for
// the exchange of gradients, `wire`), the residual stream, the router, norms and the loss are F32.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ops/matmul_format.h"
#include "optim/precision_config.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace choir {

struct ParameterPrecision {
  MatmulPrecision matmul;       // operands of its products
  DType storage = DType::kF32;  // kF32 or kBF16
  bool master = false;          // the optimizer has an F32 copy; storage is then kBF16
  MomentFormat moments = MomentFormat::kF32;
  bool operator==(const ParameterPrecision&) const = default;
};

// Whether some product has operands of eight bits.
bool UsesFp8(const PrecisionConfig& config);
// The rounding of results; kF32: none.
DType ActivationFormat(const PrecisionConfig& config);
// The exchange of gradients: kF32 or kBF16.
DType WireFormat(const PrecisionConfig& config);
// None: 1 for ever.
bool ScalesLoss(const PrecisionConfig& config);
double InitialLossScale(const PrecisionConfig& config);

// "embedding", "attention", "ffn", "shared experts", "experts", "router", "norm", "head".
std::string_view TensorClass(std::string_view parameter_name);

// Of the parameter of this name and whole shape. A table that is also the head is "embedding":
// `tied` says that the model has such a one.
ParameterPrecision ResolvePrecision(const PrecisionConfig& config, std::string_view name,
                                    const Shape& shape, bool tied);

struct NamedShape {
  std::string name;
  Shape shape;
};
// The table, for people: one line for each class and setting that occurs.
std::string PrecisionTable(const PrecisionConfig& config, const std::vector<NamedShape>& model,
                           bool tied);

}  // namespace choir
