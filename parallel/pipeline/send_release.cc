#include "parallel/pipeline/send_release.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "base/check.h"
#include "parallel/pipeline/schedule_check.h"

namespace choir {
namespace {

using Key = std::tuple<bool, int, int>;  // gradient, receiving stage, microbatch
Key KeyOf(const Handover& h) { return {h.gradient, h.stage, h.microbatch}; }

// Of each rank, how many of its actions have certainly started.
using Clock = std::vector<size_t>;

// One rank's walk through its actions.
struct Walk {
  size_t next = 0;
  Clock clock;
};

void Advance(Clock& clock, const Clock& other) {
  for (size_t r = 0; r < clock.size(); ++r) clock[r] = std::max(clock[r], other[r]);
}

}  // namespace

std::vector<size_t> SendReleases(const ScheduleSpec& spec, int rank) {
  const ActionLists lists = AllActions(spec);
  const size_t ranks = lists.size(), mine = static_cast<size_t>(rank);
  std::vector<Walk> walks(ranks, {0, Clock(ranks, 0)});
  std::map<Key, Clock> sent;                       // at the end of the sender's action
  std::map<Key, size_t> taken_by;                  // the receiver's action
  std::vector<Clock> started(lists[mine].size());  // clocks of this rank's actions
  std::vector<std::optional<Handover>> outputs(lists[mine].size());
  for (bool moved = true; moved;) {
    moved = false;
    for (size_t r = 0; r < ranks; ++r) {
      Walk& walk = walks[r];
      for (; walk.next < lists[r].size(); ++walk.next, moved = true) {
        const Action& action = lists[r][walk.next];
        if (const auto input = InputOf(spec, action); input && input->from != input->to) {
          const auto message = sent.find(KeyOf(*input));
          if (message == sent.end()) break;
          Advance(walk.clock, message->second);
          sent.erase(message);
          if (input->from == rank) taken_by[KeyOf(*input)] = walk.next;
        }
        walk.clock[r] = walk.next + 1;
        const auto output = OutputOf(spec, action);
        if (r == mine) {
          started[walk.next] = walk.clock;
          if (output && output->from != output->to) outputs[walk.next] = output;
        }
        if (output && output->from != output->to) sent[KeyOf(*output)] = walk.clock;
      }
    }
  }
  std::vector<size_t> releases(started.size(), started.size());
  for (size_t i = 0; i < started.size(); ++i) {
    CHECK(!started[i].empty()) << ToString(lists[mine][i]) << " never runs";
    if (!outputs[i]) continue;
    const size_t taken = taken_by.at(KeyOf(*outputs[i])), to = static_cast<size_t>(outputs[i]->to);
    const auto later = [&](const Clock& clock) { return clock[to] > taken; };
    const auto first =
        std::find_if(started.begin() + static_cast<ptrdiff_t>(i) + 1, started.end(), later);
    releases[i] = static_cast<size_t>(first - started.begin());
  }
  return releases;
}

}  // namespace choir
