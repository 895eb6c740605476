// An exponential moving average of the weights, kept on the host beside them.
//
// At update `start`, and then at every `every`-th, average = value the first time, and later
// average += (1 - decay) (value - average), in F32, element by element: a rank averages its shards,
// and any layout gives the same bits. A background thread does it on a copy of the values while the
// next step runs.
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <vector>

#include "optim/config.h"
#include "tensor/tensor.h"

namespace choir {

class WeightAverage {
 public:
  // For flat tensors of these sizes. Allocates the averages and one copy of the values: 8 bytes for
  // each element, no more later. On meta nothing is computed.
  WeightAverage(const EmaConfig& config, const std::vector<int64_t>& sizes, Device device);
  ~WeightAverage() { Wait(); }
  WeightAverage(const WeightAverage&) = delete;

  // After update `step` (from 1): `value(i)` is tensor i, F32. Waits for the average before, copies
  // the values, and returns while they are averaged.
  void Update(int64_t step, const std::function<Tensor(size_t)>& value);

  // Blocks until what Update began is done.
  void Wait();
  // Of tensor i: a view, zero before the first update. Waits.
  Tensor Average(size_t i);
  void Write(size_t i, const Tensor& average);
  int64_t bytes() const;
  // Updates that counted.
  int64_t updates() const { return updates_; }
  void set_updates(int64_t updates) { updates_ = updates; }

 private:
  EmaConfig config_;
  std::vector<Tensor> averages_, values_;
  int64_t updates_ = 0;
  std::future<void> running_;
};

// The same, one element after another: what Update computes.
void AverageInto(const Tensor& average, const Tensor& value, double decay);

}  // namespace choir
