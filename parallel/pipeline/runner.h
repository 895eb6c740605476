// Runs one rank's actions of a pipeline schedule.
#pragma once

#include "parallel/pipeline/schedule.h"
#include "parallel/place.h"
#include "tensor/tensor.h"

namespace choir {

class StageWork {
 public:
  virtual ~StageWork() = default;
  // The output; undefined after the last stage.
  virtual Tensor Forward(int stage, int microbatch, Tensor input) = 0;
  // The gradient of the input; undefined at the first stage.
  virtual Tensor Backward(int stage, int microbatch, Tensor output_grad, bool defer_weights) = 0;
  virtual void WeightGrad(int stage, int microbatch) = 0;
  virtual Shape HandoverShape(int microbatch) const = 0;
};

void RunPipeline(const ScheduleSpec& schedule, const Place& place, StageWork& work);

}  // namespace choir
