#include "train/state_bytes.h"

#include <cstdio>

#include "base/strings.h"

namespace choir {

StateBytes MeasureState(Trainer& trainer) {
  StateBytes bytes;
  const Optimizer& optimizer = trainer.optimizer();
  for (size_t i = 0; i < optimizer.size(); ++i) {
    const OptimTarget& target = optimizer.target(i);
    const Parameter& p = *target.parameter;
    bytes.parameters += p.shape().NumElements();
    bytes.weights += p.sharded == nullptr ? p.value.bytes() : target.value.bytes();
    bytes.optimizer += optimizer.StateBytes(i);
  }
  for (const Shard& shard : trainer.gradients().shards()) {
    const Tensor& whole = shard.parameter->grad;
    if (whole.defined()) bytes.gradients += whole.bytes();
    if (!whole.defined() || !shard.grad.SharesStorageWith(whole)) {
      bytes.gradients += shard.grad.bytes();
    }
  }
  if (trainer.average() != nullptr) bytes.average = trainer.average()->bytes();
  return bytes;
}

std::string Describe(const StateBytes& b) {
  const int64_t all = b.weights + b.gradients + b.optimizer + b.average;
  const auto each = [&b](const char* what, int64_t bytes) {
    char text[64];
    std::snprintf(text, sizeof(text), "%s %.2f", what,
                  static_cast<double>(bytes) / static_cast<double>(b.parameters));
    return std::string(text);
  };
  std::string text =
      StrCat("training state of this rank, bytes per parameter: ", each("weights", b.weights), ", ",
             each("gradients", b.gradients), ", ", each("optimizer", b.optimizer));
  if (b.average > 0) text += ", " + each("average", b.average);
  return StrCat(text, ", ", each("together", all), " (", all, " bytes)");
}

}  // namespace choir
