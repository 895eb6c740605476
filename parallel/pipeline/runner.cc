#include "parallel/pipeline/runner.h"

#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/fault.h"
#include "parallel/pipeline/send_release.h"

namespace choir {
namespace {

constexpr int kTags = 1 << 16;  // of a Communicator

// The tensors between this rank's actions and the other stages.
class Exchange {
 public:
  Exchange(const ScheduleSpec& spec, std::span<const Action> actions, Communicator* pipe,
           const BoundaryFunction& boundary)
      : spec_(spec), actions_(actions), pipe_(pipe), boundary_(boundary) {
    if (pipe != nullptr) releases_ = SendReleases(spec, pipe->rank());
  }

  // Posts the receives of action `i` and of the next one that has a receive.
  void PostReceives(size_t i) {
    for (; next_ < actions_.size() && (next_ <= i || !PostedBeyond(i)); ++next_) {
      auto input = InputOf(spec_, actions_[next_]);
      if (!input || input->from == input->to) continue;
      // Stages that run all forward passes first still find every message.
      if (!input->gradient && Injected(Fault::kWrongMicrobatch)) input->microbatch ^= 1;
      CHECK(input->to == pipe_->rank())
          << ToString(actions_[next_]) << " on rank " << pipe_->rank();
      const BoundaryTensor expected = boundary_(*input);
      Tensor tensor = Tensor::Empty(expected.shape, expected.options);
      Event event = pipe_->Recv(tensor, input->from, HandoverTag(spec_, *input));
      receives_.push_back({next_, std::move(tensor), std::move(event)});
    }
  }

  // The input of action `i`, once it is there; undefined if it needs none.
  Tensor Take(size_t i) {
    const auto input = InputOf(spec_, actions_[i]);
    if (!input) return {};
    if (input->from == input->to) {
      const auto at = local_.find(Key(*input));
      CHECK(at != local_.end()) << ToString(actions_[i]) << " before its input";
      Tensor tensor = std::move(at->second);
      local_.erase(at);
      return tensor;
    }
    CHECK(!receives_.empty() && receives_.front().action == i) << ToString(actions_[i]);
    receives_.front().event.Wait();
    Tensor tensor = std::move(receives_.front().tensor);
    receives_.pop_front();
    return tensor;
  }

  // Hands on what action `i` made.
  void Put(size_t i, Tensor tensor) {
    const auto output = OutputOf(spec_, actions_[i]);
    CHECK(tensor.defined() == output.has_value()) << ToString(actions_[i]);
    if (!output) return;
    const BoundaryTensor expected = boundary_(*output);
    CHECK(tensor.shape() == expected.shape) << ToString(actions_[i]);
    CHECK(tensor.dtype() == expected.options.dtype) << ToString(actions_[i]);
    if (output->from == output->to) {
      local_.emplace(Key(*output), std::move(tensor));
      return;
    }
    Event event = pipe_->Send(tensor, output->to, HandoverTag(spec_, *output));
    sends_.push_back({releases_[i], std::move(tensor), std::move(event)});
  }

  // Before action `i`, once its input is there.
  void DropTakenSends(size_t i) {
    std::erase_if(sends_, [i](const Sending& s) {
      if (s.release > i) return false;
      s.event.Wait();  // the other rank has it
      return true;
    });
  }

  void Finish() {
    for (const Sending& s : sends_) s.event.Wait();
    sends_.clear();
    CHECK(local_.empty()) << local_.size() << " tensors that no action of this rank took";
  }

 private:
  struct Receiving {
    size_t action;
    Tensor tensor;
    Event event;
  };
  struct Sending {
    size_t release;  // the action before which it is let go of
    Tensor tensor;
    Event event;
  };

  static std::tuple<bool, int, int> Key(const Handover& h) {
    return {h.gradient, h.stage, h.microbatch};
  }
  bool PostedBeyond(size_t i) const { return !receives_.empty() && receives_.back().action > i; }

  const ScheduleSpec& spec_;
  std::span<const Action> actions_;
  Communicator* pipe_;
  const BoundaryFunction& boundary_;
  size_t next_ = 0;                 // first action whose receive was not looked at
  std::deque<Receiving> receives_;  // in the order of the actions
  std::vector<size_t> releases_;    // of this rank's actions
  std::vector<Sending> sends_;
  std::map<std::tuple<bool, int, int>, Tensor> local_;
};

}  // namespace

int HandoverTag(const ScheduleSpec& spec, const Handover& handover) {
  const int channels = 2 * spec.stages();
  const int window = kTags / channels;
  CHECK(window >= 1) << spec.stages() << " stages";
  return (2 * handover.stage + (handover.gradient ? 1 : 0)) * window + handover.microbatch % window;
}

void RunActions(const ScheduleSpec& spec, std::span<const Action> actions, Communicator* pipe,
                const BoundaryFunction& boundary, StageWork& work) {
  CHECK((pipe != nullptr ? pipe->size() : 1) == spec.ranks);
  Exchange exchange(spec, actions, pipe, boundary);
  for (size_t i = 0; i < actions.size(); ++i) {
    const auto& [kind, stage, microbatch, paired] = actions[i];
    exchange.PostReceives(i);
    Tensor input = exchange.Take(i);
    exchange.DropTakenSends(i);
    switch (kind) {
      case ActionKind::kForward:
        exchange.Put(i, work.Forward(stage, microbatch, std::move(input)));
        break;
      case ActionKind::kBackward:
      case ActionKind::kBackwardInput: {
        const bool defer = kind == ActionKind::kBackwardInput;
        exchange.Put(i, work.Backward(stage, microbatch, std::move(input), defer));
        break;
      }
      case ActionKind::kBackwardWeight:
        work.WeightGrad(stage, microbatch);
        break;
    }
  }
  exchange.Finish();
}

}  // namespace choir
