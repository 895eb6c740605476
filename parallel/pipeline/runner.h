// Runs one rank's part of a pipeline schedule: takes tensors in from the neighbouring stages, calls
// the work of each action, and sends on what it made.
#pragma once

#include <functional>
#include <span>

#include "parallel/comm/communicator.h"
#include "parallel/pipeline/schedule.h"
#include "tensor/shape.h"
#include "tensor/tensor.h"

namespace choir {

// What the stages of a rank do. Tensors that are handed in belong to the callee. A tensor that is
// returned may be kept for the backward pass, but must not be written to: it may still be on its
// way to another rank.
class StageWork {
 public:
  virtual ~StageWork() = default;
  // `input` is undefined for the first stage; so is the result of the last one, which keeps its
  // loss.
  virtual Tensor Forward(int stage, int microbatch, Tensor input) = 0;
  // From the gradient of Forward's result (undefined for the last stage: it starts at its loss) to
  // that of its input (undefined for the first stage). With `defer_weights` the weight gradients
  // are left for WeightGrad, else added here.
  virtual Tensor Backward(int stage, int microbatch, Tensor output_grad, bool defer_weights) = 0;
  virtual void WeightGrad(int stage, int microbatch) = 0;
};

// What a hand-over looks like, the same on both ends.
struct BoundaryTensor {
  Shape shape;
  TensorOptions options;
};
using BoundaryFunction = std::function<BoundaryTensor(const Handover&)>;

// Matches the two ends of a message (Communicator). Microbatches that share a tag are far apart and
// both ends walk them in ascending order, so these cannot be mixed up either.
int HandoverTag(const ScheduleSpec& spec, const Handover& handover);

// Runs `actions`, RankActions of this rank, in their order. `pipe` is the group of the pipe axis:
// its rank r is rank r of the schedule; null for a schedule of one rank. The receive of the next
// action that needs one is posted before an action runs, so at most two tensors from other ranks
// wait here. A tensor that is sent lives until the action before which it must have been received
// (send_release.h): what memory holds is a matter of the actions, never of when messages arrive.
// Stages of one rank hand over without a copy. Returns when all actions have run and everything is
// sent. CHECKs that what the work returns fits `boundary`.
void RunActions(const ScheduleSpec& spec, std::span<const Action> actions, Communicator* pipe,
                const BoundaryFunction& boundary, StageWork& work);

}  // namespace choir
