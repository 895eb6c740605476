// Runs a schedule on paper: when each action starts and ends, how long ranks wait, what they hold,
// and whether they wait for ever.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "parallel/pipeline/schedule.h"

namespace choir {

// One list for each rank; RankActions of all of them.
using ActionLists = std::vector<std::vector<Action>>;
ActionLists AllActions(const ScheduleSpec& spec);

struct ScheduleRun {
  struct Span {
    double begin = 0, end = 0;
  };
  struct Rank {
    std::vector<Span> spans;  // of the rank's actions that ran, in its order
    double busy = 0;
    double idle = 0;             // of the whole makespan
    int64_t peak_in_flight = 0;  // activations held, as MaxInFlight counts them
  };
  // An action that can never run, and what it waits for.
  struct Blocked {
    int rank = 0;
    Action action;
    std::string reason;
  };

  std::vector<Rank> ranks;
  double makespan = 0;           // end of the last action that ran
  std::vector<Blocked> blocked;  // of each rank that did not finish; empty: no deadlock

  bool deadlock() const { return !blocked.empty(); }
  std::string DescribeBlocked() const;  // one line each
};

// Costs that differ by stage; each is asked for once as its action runs.
struct ActionCosts {
  std::function<double(const Action&)> action;
  // Of two paired actions that run as one; none: one by one.
  std::function<double(const Action&, const Action&)> pair;
  double send = 0;  // as in StageCosts
};

// Each rank runs its list in order, an action as soon as the rank is free and the action's input is
// there; a send takes costs.send and no time of the ranks. `lists` may be any lists, right or
// wrong, whose actions are of stages that their rank owns (CHECKed).
ScheduleRun RunSchedule(const ScheduleSpec& spec, const ActionLists& lists,
                        const StageCosts& costs);
ScheduleRun RunActions(const ScheduleSpec& spec, const ActionLists& lists,
                       const ActionCosts& costs);

}  // namespace choir
