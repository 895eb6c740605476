#include "parallel/pipeline/runner.h"

#include <map>
#include <tuple>

namespace choir {

void RunPipeline(const ScheduleSpec& schedule, const Place& place, StageWork& work) {
  const int rank = place.Coord(Axis::kPipe);
  std::map<std::tuple<bool, int, int>, Tensor> local;
  std::vector<std::pair<Tensor, Event>> sends;
  auto tag = [&](const Handover& h) {
    return ((h.stage * 2 + (h.gradient ? 1 : 0)) * 64 + h.microbatch % 64) % (1 << 16);
  };
  for (const Action& action : RankActions(schedule, rank)) {
    Tensor input;
    if (const auto h = InputOf(schedule, action)) {
      if (h->from == rank) {
        input = local.extract({h->gradient, h->stage, h->microbatch}).mapped();
      } else {
        input = Tensor::Empty(work.HandoverShape(h->microbatch), {});
        place.Group(Axis::kPipe).Recv(input, h->from, tag(*h)).Wait();
      }
    }
    Tensor output;
    switch (action.kind) {
      case ActionKind::kForward:
        output = work.Forward(action.stage, action.microbatch, input);
        break;
      case ActionKind::kBackward:
        output = work.Backward(action.stage, action.microbatch, input, false);
        break;
      case ActionKind::kBackwardInput:
        output = work.Backward(action.stage, action.microbatch, input, true);
        break;
      case ActionKind::kBackwardWeight:
        work.WeightGrad(action.stage, action.microbatch);
        break;
    }
    if (const auto h = OutputOf(schedule, action)) {
      if (h->to == rank) {
        local[{h->gradient, h->stage, h->microbatch}] = output;
      } else {
        sends.emplace_back(output, place.Group(Axis::kPipe).Send(output, h->to, tag(*h)));
      }
    }
  }
  for (auto& [tensor, event] : sends) event.Wait();
}

}  // namespace choir
