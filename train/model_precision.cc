#include "train/model_precision.h"

#include <vector>

namespace choir {

ParameterPrecision PrecisionOf(const RunConfig& config, const std::string& name,
                               const Shape& whole) {
  return ResolvePrecision(config.precision, name, whole, config.model.tie_embeddings);
}

void ApplyPrecision(const RunConfig& config, Transformer& model) {
  model.SetMatmulPrecision([&config](const std::string& name, const Shape& whole) {
    return PrecisionOf(config, name, whole).matmul;
  });
  model.SetActivationFormat(ActivationFormat(config.precision));
}

std::string DescribePrecision(const RunConfig& config) {
  // On the meta device: names and shapes cost no memory.
  const Transformer model(config.model, *config.model.vocab_size, {DType::kF32, Device::kMeta});
  std::vector<NamedShape> shapes;
  for (const auto& entry : model.parameters()) {
    shapes.push_back({entry.parameter->name, entry.placement.shape});
  }
  return PrecisionTable(config.precision, shapes, config.model.tie_embeddings);
}

}  // namespace choir
