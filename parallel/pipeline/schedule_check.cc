#include "parallel/pipeline/schedule_check.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/strings.h"

namespace choir {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

// When the passes of one stage and microbatch ended.
struct Done {
  double forward = kNever;
  double backward = kNever;  // its input gradient is there
};

class Simulation {
 public:
  Simulation(const ScheduleSpec& spec, const ActionLists& lists, const ActionCosts& costs)
      : spec_(spec), lists_(lists), costs_(costs) {
    CHECK(lists.size() == static_cast<size_t>(spec.ranks));
    done_.resize(static_cast<size_t>(spec.stages()) * static_cast<size_t>(spec.microbatches));
    states_.resize(lists.size());
    run_.ranks.resize(lists.size());
  }

  ScheduleRun Run() {
    // Times depend on the lists alone, not on the order of this walk.
    for (bool progress = true; progress;) {
      progress = false;
      for (int rank = 0; rank < spec_.ranks; ++rank) {
        while (RunNext(rank)) progress = true;
      }
    }
    for (int rank = 0; rank < spec_.ranks; ++rank) Finish(rank);
    for (auto& rank : run_.ranks) rank.idle = run_.makespan - rank.busy;
    return std::move(run_);
  }

 private:
  struct State {
    size_t next = 0;
    double free = 0;  // when the rank has ended its last action
    int64_t in_flight = 0;
  };

  Done& At(int stage, int microbatch) {
    CHECK(stage >= 0 && stage < spec_.stages()) << "stage " << stage;
    CHECK(microbatch >= 0 && microbatch < spec_.microbatches) << "microbatch " << microbatch;
    return done_[static_cast<size_t>(stage) * static_cast<size_t>(spec_.microbatches) +
                 static_cast<size_t>(microbatch)];
  }

  // When everything that the action needs is on its rank; kNever if it was not made so far.
  double Ready(const Action& action) {
    const Done& own = At(action.stage, action.microbatch);
    double ready = 0;
    if (action.kind == ActionKind::kBackwardWeight) ready = own.backward;
    if (action.kind == ActionKind::kBackward || action.kind == ActionKind::kBackwardInput) {
      ready = own.forward;
    }
    if (const auto input = InputOf(spec_, action)) {
      const Done& other = At(input->stage + (input->gradient ? 1 : -1), action.microbatch);
      const double made = input->gradient ? other.backward : other.forward;
      ready = std::max(ready, made + (input->from == input->to ? 0 : costs_.send));
    }
    return ready;
  }

  // Runs the next action of the rank, or the next pair, if what it needs was made.
  bool RunNext(int rank) {
    State& state = states_[static_cast<size_t>(rank)];
    const auto& list = lists_[static_cast<size_t>(rank)];
    if (state.next == list.size()) return false;
    const Action& action = list[state.next];
    CHECK(StageOwner(spec_, action.stage) == rank) << ToString(action) << " on rank " << rank;
    const bool pair = costs_.pair && action.paired && state.next + 1 < list.size();
    double begin = std::max(state.free, Ready(action));
    if (pair) begin = std::max(begin, Ready(list[state.next + 1]));
    if (begin == kNever) return false;
    const double end =
        begin + (pair ? costs_.pair(action, list[state.next + 1]) : costs_.action(action));
    run_.ranks[static_cast<size_t>(rank)].busy += end - begin;
    Record(rank, action, {begin, end});
    if (pair) Record(rank, list[state.next], {begin, end});
    return true;
  }

  void Record(int rank, const Action& action, const ScheduleRun::Span& span) {
    State& state = states_[static_cast<size_t>(rank)];
    ScheduleRun::Rank& result = run_.ranks[static_cast<size_t>(rank)];
    Done& done = At(action.stage, action.microbatch);
    result.spans.push_back(span);
    if (action.kind == ActionKind::kForward) {
      done.forward = span.end;
      result.peak_in_flight = std::max(result.peak_in_flight, ++state.in_flight);
    } else if (action.kind == ActionKind::kBackwardWeight) {
      --state.in_flight;
    } else {
      done.backward = span.end;
      if (action.kind == ActionKind::kBackward) --state.in_flight;
    }
    state.free = span.end;
    ++state.next;
    run_.makespan = std::max(run_.makespan, span.end);
  }

  void Finish(int rank) {
    const State& state = states_[static_cast<size_t>(rank)];
    const auto& list = lists_[static_cast<size_t>(rank)];
    if (state.next == list.size()) return;
    Action action = list[state.next];
    // Of a pair the half that cannot run is the one to name.
    if (Ready(action) != kNever) action = list[state.next + 1];
    std::string reason = "its own forward pass or input gradients";
    if (const auto input = InputOf(spec_, action)) {
      reason = choir::StrCat(input->gradient ? "the gradient" : "the activation", " from stage ",
                             input->stage + (input->gradient ? 1 : -1), " on rank ", input->from);
      if (At(action.stage, action.microbatch).forward == kNever && input->gradient) {
        reason = "its own forward pass";
      }
    }
    run_.blocked.push_back({rank, action, reason});
  }

  const ScheduleSpec& spec_;
  const ActionLists& lists_;
  const ActionCosts& costs_;
  std::vector<Done> done_;
  std::vector<State> states_;
  ScheduleRun run_;
};

double CostOf(const StageCosts& costs, ActionKind kind) {
  switch (kind) {
    case ActionKind::kForward:
      return costs.forward;
    case ActionKind::kBackward:
      return costs.backward_input + costs.backward_weight;
    case ActionKind::kBackwardInput:
      return costs.backward_input;
    case ActionKind::kBackwardWeight:
      return costs.backward_weight;
  }
  return 0;
}

}  // namespace

ActionLists AllActions(const ScheduleSpec& spec) {
  ActionLists lists;
  for (int rank = 0; rank < spec.ranks; ++rank) lists.push_back(RankActions(spec, rank));
  return lists;
}

std::string ScheduleRun::DescribeBlocked() const {
  std::string text;
  for (const Blocked& b : blocked) {
    text += choir::StrCat("rank ", b.rank, ": ", ToString(b.action), " waits for ", b.reason, "\n");
  }
  return text;
}

ScheduleRun RunSchedule(const ScheduleSpec& spec, const ActionLists& lists,
                        const StageCosts& costs) {
  ActionCosts of_actions;
  of_actions.action = [&](const Action& action) { return CostOf(costs, action.kind); };
  if (costs.pair) of_actions.pair = [&](const Action&, const Action&) { return *costs.pair; };
  of_actions.send = costs.send;
  return RunActions(spec, lists, of_actions);
}

ScheduleRun RunActions(const ScheduleSpec& spec, const ActionLists& lists,
                       const ActionCosts& costs) {
  return Simulation(spec, lists, costs).Run();
}

}  // namespace choir
