#include "eval/model_input.h"

#include <algorithm>

#include "ops/launch.h"

namespace choir {
namespace {

// 1 where there is a label, 0 in padding.
Tensor ValidMask(const Tensor& labels) {
  Tensor valid =
      Tensor::Empty(labels.shape(), {DType::kF32, labels.device(), MemoryCategory::kWorkspace});
  Launch(labels.device(), MemoryWork("valid_mask", labels, valid), [&] {
    const int32_t* label = labels.data<int32_t>();
    float* v = valid.data<float>();
    for (int64_t i = 0; i < labels.NumElements(); ++i) v[i] = label[i] == kNoLabel ? 0.0f : 1.0f;
  });
  return valid;
}

}  // namespace

ModelInput MicrobatchInput(const Batch& batch, int64_t first, int64_t count) {
  const int64_t begin = first * batch.length, n = count * batch.length;
  const int64_t at = batch.StoredAt(first, count);
  ModelInput input;
  input.tokens = batch.tokens.Rows(at, n);
  input.labels = batch.labels.Rows(at, n);
  input.block.positions = batch.positions.Rows(at, n);
  input.block.valid = ValidMask(input.labels);
  input.block.rows = count;
  input.block.batch_share = static_cast<double>(count) / static_cast<double>(batch.rows);
  auto bounds = std::make_shared<std::vector<int32_t>>();
  for (int32_t bound : batch.cu_seqlens) {  // no segment crosses a row
    if (bound >= begin && bound <= begin + n) {
      bounds->push_back(bound - static_cast<int32_t>(begin));
    }
  }
  CHECK(!bounds->empty() && bounds->front() == 0 && bounds->back() == n);
  input.block.boundaries = std::move(bounds);
  return input;
}

double VisiblePairs(const ModelInput& input) {
  const std::vector<int32_t>& bounds = *input.block.boundaries;
  const bool meta = input.labels.device() == Device::kMeta;
  const int32_t* label = meta ? nullptr : input.labels.data<int32_t>();
  double pairs = 0;
  for (size_t i = 1; i < bounds.size(); ++i) {
    const double n = bounds[i] - bounds[i - 1];
    if (n > 0 && (meta || label[bounds[i - 1]] != kNoLabel)) pairs += n * (n + 1) / 2;
  }
  return pairs;
}

double VisiblePairs(const Batch& batch) {
  std::vector<int64_t> used(static_cast<size_t>(batch.rows), 0);
  for (const BatchSegment& s : batch.segments) {
    used[s.row] = std::max(used[s.row], s.begin + s.length);
  }
  if (batch.segments.empty()) used.assign(used.size(), batch.length);  // meta: no documents
  double pairs = 0;
  for (size_t i = 1; i < batch.cu_seqlens.size(); ++i) {
    const int64_t begin = batch.cu_seqlens[i - 1];
    const double n = batch.cu_seqlens[i] - begin;
    if (begin % batch.length < used[begin / batch.length]) pairs += n * (n + 1) / 2;
  }
  return pairs;
}

}  // namespace choir
