#include "ops/parameter.h"

#include "ops/elementwise.h"

namespace choir {

DType ComputeDType(DType storage) {
  return storage == DType::kBF16 || storage == DType::kF16 ? DType::kF32 : storage;
}

Tensor Parameter::Stored() const {
  if (sharded == nullptr) return value;
  if (!sharded->whole.defined()) sharded->gather();
  return sharded->whole;
}

Tensor Parameter::Value() const {
  const Tensor stored = Stored();
  const DType wide = ComputeDType(stored.dtype());
  if (wide == stored.dtype()) return stored;
  const Tensor copy =
      Tensor::Empty(stored.shape(), {wide, stored.device(), MemoryCategory::kWorkspace});
  ConvertInto(copy, stored);
  return copy;
}

TensorOptions Parameter::options(MemoryCategory category) const {
  const TensorOptions stored = sharded == nullptr ? value.options() : sharded->options;
  return {ComputeDType(stored.dtype), stored.device, category};
}

}  // namespace choir
