#include "train/meta_input.h"

#include <memory>
#include <utility>

namespace choir {

Batch MetaBatch(const StepRows& rows, int64_t length, std::vector<int32_t> bounds) {
  Batch batch;
  batch.rows = rows.count;
  batch.length = length;
  batch.num_labels = rows.count * length;
  for (int64_t row = 0; row < rows.count; ++row) {
    if (!rows.mine || rows.mine(row)) batch.stored.push_back(row);
  }
  const TensorOptions ids{DType::kI32, Device::kMeta, MemoryCategory::kWorkspace};
  for (Tensor* t : {&batch.tokens, &batch.labels, &batch.positions, &batch.language}) {
    *t = Tensor::Empty({static_cast<int64_t>(batch.stored.size()) * length}, ids);
  }
  batch.cu_seqlens = std::move(bounds);
  if (batch.cu_seqlens.empty()) {
    for (int64_t row = 0; row <= rows.count; ++row) {
      batch.cu_seqlens.push_back(static_cast<int32_t>(row * length));
    }
  }
  return batch;
}

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
