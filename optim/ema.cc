#include "optim/ema.h"

#include <cmath>

#include "ops/work.h"

namespace choir {

void AverageInto(const Tensor& average, const Tensor& value, double decay) {
  const auto rest = static_cast<float>(1 - decay);
  float* to = average.data<float>();
  const float* from = value.data<float>();
  for (int64_t i = 0; i < average.NumElements(); ++i) {
    to[i] = std::fma(rest, from[i] - to[i], to[i]);
  }
}

WeightAverage::WeightAverage(const EmaConfig& config, const std::vector<int64_t>& sizes,
                             Device device)
    : config_(config) {
  CHECK(config.decay);
  const TensorOptions options{DType::kF32, device, MemoryCategory::kOptimizer};
  for (const int64_t n : sizes) {
    averages_.push_back(Tensor::Zeros({n}, options));
    values_.push_back(Tensor::Zeros({n}, options));
  }
}

void WeightAverage::Update(int64_t step, const std::function<Tensor(size_t)>& value) {
  if (step < config_.start || (step - config_.start) % config_.every != 0) return;
  Wait();
  const bool first = updates_++ == 0;
  for (size_t i = 0; i < values_.size(); ++i) {
    RecordWork(MemoryWork("ema_copy", values_[i], values_[i]));
    (first ? averages_ : values_)[i].CopyFrom(value(i));
  }
  if (first) return;
  running_ = std::async(std::launch::async, [this] {
    for (size_t i = 0; i < values_.size(); ++i) {
      if (values_[i].device() == Device::kMeta) continue;
      AverageInto(averages_[i], values_[i], *config_.decay);
    }
  });
}

void WeightAverage::Wait() {
  if (running_.valid()) running_.get();
}

int64_t WeightAverage::bytes() const {
  int64_t bytes = 0;
  for (const auto* tensors : {&averages_, &values_}) {
    for (const Tensor& t : *tensors) bytes += t.bytes();
  }
  return bytes;
}

Tensor WeightAverage::Average(size_t i) {
  Wait();
  return averages_[i];
}

void WeightAverage::Write(size_t i, const Tensor& average) {
  Wait();
  if (!average.SharesStorageWith(averages_[i])) averages_[i].CopyFrom(average);
}

}  // namespace choir
