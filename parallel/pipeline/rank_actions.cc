#include "parallel/pipeline/rank_actions.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <deque>
#include <utility>

#include "base/check.h"
#include "ops/numerics.h"

namespace choir::internal {
namespace {

int NumGroups(const ScheduleSpec& spec) { return std::max(1, spec.microbatches / spec.ranks); }

// Stage and microbatch of every pass of one direction: groups of microbatches go through one chunk
// after another, from the first chunk forward and from the last one backward.
std::vector<Action> GroupedOrder(const ScheduleSpec& spec, int rank, ActionKind kind) {
  const std::vector<int> stages = StagesOf(spec, rank);
  const bool forward = kind == ActionKind::kForward;
  const int groups = NumGroups(spec);
  std::vector<Action> order;
  for (int group = 0; group < groups; ++group) {
    const auto begin = static_cast<int>(PieceBegin(spec.microbatches, groups, group));
    const auto end = static_cast<int>(PieceBegin(spec.microbatches, groups, group + 1));
    for (int i = 0; i < spec.chunks; ++i) {
      const int chunk = forward ? i : spec.chunks - 1 - i;
      for (int m = begin; m < end; ++m) {
        order.push_back({kind, stages[static_cast<size_t>(chunk)], m});
      }
    }
  }
  return order;
}

// Appends the passes of one rank's chunks; each chunk counts its own microbatches.
class ActionWriter {
 public:
  ActionWriter(const ScheduleSpec& spec, int rank) : stages_(StagesOf(spec, rank)) {
    CHECK(stages_.size() <= forwards_.size());
  }

  void Forward(int chunk) { Append(ActionKind::kForward, chunk, Next(forwards_, chunk)); }
  void Backward(int chunk) { Append(ActionKind::kBackward, chunk, Next(backwards_, chunk)); }
  // Its weight gradients wait in a queue for Weights().
  void BackwardInput(int chunk) {
    Append(ActionKind::kBackwardInput, chunk, Next(backwards_, chunk));
    waiting_.push_back(actions_.back());
  }
  void BackwardOrInput(int chunk, bool input_only) {
    input_only ? BackwardInput(chunk) : Backward(chunk);
  }
  void Weights() {
    CHECK(!waiting_.empty());
    Action action = waiting_.front();
    action.kind = ActionKind::kBackwardWeight;
    waiting_.pop_front();
    actions_.push_back(action);
  }
  void AllWeights() {
    while (!waiting_.empty()) Weights();
  }
  void ForwardAndBackward(int forward_chunk, int backward_chunk, bool paired = true) {
    Forward(forward_chunk);
    actions_.back().paired = paired;
    Backward(backward_chunk);
  }
  size_t waiting() const { return waiting_.size(); }
  std::vector<Action> Take() { return std::move(actions_); }

 private:
  static int Next(std::array<int, 2>& counts, int chunk) {
    return counts[static_cast<size_t>(chunk)]++;
  }
  void Append(ActionKind kind, int chunk, int microbatch) {
    actions_.push_back({kind, stages_[static_cast<size_t>(chunk)], microbatch});
  }

  std::vector<int> stages_;
  std::array<int, 2> forwards_{}, backwards_{};
  std::deque<Action> waiting_;
  std::vector<Action> actions_;
};

}  // namespace

std::vector<Action> GpipeActions(const ScheduleSpec& spec, int rank) {
  ActionWriter writer(spec, rank);
  for (int m = 0; m < spec.microbatches; ++m) {
    writer.Forward(0);
    if (spec.ranks == 1) writer.Backward(0);
  }
  for (int m = 0; m < spec.microbatches && spec.ranks > 1; ++m) writer.Backward(0);
  return writer.Take();
}

int64_t WarmupForwards(const ScheduleSpec& spec, int rank) {
  const int64_t below = spec.ranks - 1 - rank;  // ranks that a microbatch passes to the turn
  if (spec.chunks == 1) return below;
  // The last chunk's first pass comes behind V - 1 passes of the first group; then there and back,
  // each of these 2 `below` times with a pass of this rank beside it. A group larger than the first
  // needs as much when its turn comes.
  const int64_t groups = NumGroups(spec);
  const int64_t largest = (spec.microbatches + groups - 1) / groups;
  return 2 * below + (spec.chunks - 1) * largest;
}

std::vector<Action> InterleavedActions(const ScheduleSpec& spec, int rank) {
  const std::vector<Action> forward = GroupedOrder(spec, rank, ActionKind::kForward);
  const std::vector<Action> backward = GroupedOrder(spec, rank, ActionKind::kBackward);
  const size_t passes = forward.size();
  const size_t warmup = std::min(passes, static_cast<size_t>(WarmupForwards(spec, rank)));
  std::vector<Action> actions(forward.begin(), forward.begin() + static_cast<ptrdiff_t>(warmup));
  for (size_t i = 0; i < passes; ++i) {
    if (warmup + i < passes) actions.push_back(forward[warmup + i]);
    actions.push_back(backward[i]);
  }
  return actions;
}

std::vector<Action> ZeroBubbleActions(const ScheduleSpec& spec, int rank) {
  const int microbatches = spec.microbatches;
  const int warmup = std::min(spec.ranks - 1 - rank, microbatches);
  const auto late = static_cast<size_t>(rank);
  ActionWriter writer(spec, rank);
  for (int m = 0; m < warmup; ++m) writer.Forward(0);
  for (int m = warmup; m < microbatches; ++m) {
    writer.Forward(0);
    writer.BackwardInput(0);
    if (writer.waiting() > late) writer.Weights();
  }
  // No forward pass is left to hide the wait for the next gradient: weights do.
  for (int m = microbatches - warmup; m < microbatches; ++m) {
    writer.BackwardInput(0);
    writer.Weights();
  }
  writer.AllWeights();
  return writer.Take();
}

// The phases of DualPipe's published order, for the half of the ranks that a V needs. Chunk 0 is
// the way down, chunk 1 the way back up.
std::vector<Action> DualPipeVActions(const ScheduleSpec& spec, int rank) {
  const int below = spec.ranks - 1 - rank;  // ranks between this one and the turn
  ActionWriter writer(spec, rank);
  // Fill: feed the ranks below until the first microbatch is back.
  for (int i = 0; i < 2 * below; ++i) writer.Forward(0);
  for (int i = 0; i < rank + 1; ++i) {
    writer.Forward(0);
    writer.Forward(1);
  }
  // Gradients come back at half the rate of forward passes: weights fill the gaps.
  for (int i = 0; i < below; ++i) {
    writer.BackwardInput(1);
    writer.Weights();
    writer.Forward(1);
  }
  // Steady: every forward pass beside a backward pass of the other chunk. The very first on the
  // rank of the turn are no pair, as published: the ranks above wait for that gradient.
  for (int i = 0; i < spec.microbatches - 2 * spec.ranks + rank + 1; ++i) {
    writer.ForwardAndBackward(0, 1, i > 0 || below > 0);
    writer.ForwardAndBackward(1, 0);
  }
  // Drain: no new microbatches, ...
  for (int i = 0; i < below; ++i) {
    writer.Backward(1);
    writer.ForwardAndBackward(1, 0);
  }
  // ... then backward passes only; in the second half weights are put off, ...
  for (int i = 0; i < 2 * (rank + 1); ++i) writer.BackwardOrInput((i + 1) % 2, i > rank);
  // ... and then they fill the wait for the last gradients.
  for (int i = 0; i < below; ++i) {
    writer.Weights();
    writer.BackwardInput(0);
  }
  writer.AllWeights();
  return writer.Take();
}

}  // namespace choir::internal
