#include "train/meta_input.h"

#include <memory>

namespace choir {

ModelInput MetaInput(int64_t length) {
  const TensorOptions ids{DType::kI32, Device::kMeta, MemoryCategory::kWorkspace};
  ModelInput input;
  input.tokens = Tensor::Empty({length}, ids);
  input.labels = Tensor::Empty({length}, ids);
  input.block.positions = Tensor::Empty({length}, ids);
  input.block.valid =
      Tensor::Empty({length}, {DType::kF32, Device::kMeta, MemoryCategory::kWorkspace});
  input.block.boundaries =
      std::make_shared<std::vector<int32_t>>(std::vector<int32_t>{0, static_cast<int32_t>(length)});
  return input;
}

}  // namespace choir
