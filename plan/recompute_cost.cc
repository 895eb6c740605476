#include "plan/recompute_cost.h"

#include <algorithm>

#include "base/check.h"

namespace choir {
namespace {

enum class Presence : uint8_t { kUnknown, kHeld, kOffloaded, kMadeAgain };

// A kernel that runs again, or a backward node.
struct Event {
  int kernel = -1, node = -1;
};

struct Life {
  Presence presence = Presence::kUnknown;  // kUnknown: the backward pass does not need it
  int first = -1, last = -1;               // events that use it; of kMadeAgain: first makes it
};

struct Backward {
  std::vector<Event> events;
  std::vector<Life> lives;    // by group
  std::vector<int> offloads;  // groups, in the order in which they come back
};

// The order in which the backward pass runs, and how long each group lives in it.
class Order {
 public:
  Order(const RecomputeModel& model, const ClassActions& actions)
      : model_(model), actions_(actions) {
    backward_.lives.resize(model.groups.size());
    backward_.events.reserve(model.backward.size() + model.kernels.size());
  }

  Backward Run() && {
    for (size_t j = 0; j < model_.backward.size(); ++j) {
      const auto& reads = model_.backward[j].reads;
      for (int g : reads) Ask(g);
      Add({.node = static_cast<int>(j)}, reads);
    }
    auto& offloads = backward_.offloads;
    std::sort(offloads.begin(), offloads.end(), [&](int a, int b) {
      return std::pair(Group(a).kernel, a) > std::pair(Group(b).kernel, b);
    });
    return std::move(backward_);
  }

 private:
  const RecomputeGroup& Group(int g) const { return model_.groups[static_cast<size_t>(g)]; }
  Life& Of(int g) { return backward_.lives[static_cast<size_t>(g)]; }
  bool Drops(int g) const {
    const int c = Group(g).group_class;
    return c >= 0 && actions_[static_cast<size_t>(c)] == RecomputeAction::kRecompute;
  }

  void Add(Event event, const std::vector<int>& used) {
    const int at = static_cast<int>(backward_.events.size());
    backward_.events.push_back(event);
    for (int g : used) {
      Life& life = Of(g);
      if (life.first < 0) life.first = at;
      life.last = at;
    }
  }

  void Ask(int g) {
    if (Of(g).presence != Presence::kUnknown) return;
    if (Drops(g)) return Replay(Group(g).kernel);
    const int c = Group(g).group_class;
    const bool away = c >= 0 && actions_[static_cast<size_t>(c)] == RecomputeAction::kOffload;
    Of(g).presence = away ? Presence::kOffloaded : Presence::kHeld;
    if (away) backward_.offloads.push_back(g);
  }

  void Replay(int k) {
    const RecomputeModel::Kernel& kernel = model_.kernels[static_cast<size_t>(k)];
    for (int g : kernel.inputs) Ask(g);
    Add({.kernel = k}, kernel.inputs);
    for (int g : kernel.outputs) {
      if (!Drops(g)) continue;
      Of(g).presence = Presence::kMadeAgain;
      Of(g).first = Of(g).last = static_cast<int>(backward_.events.size()) - 1;
    }
  }

  const RecomputeModel& model_;
  const ClassActions& actions_;
  Backward backward_;
};

struct Peak {
  int64_t bytes = 0;
  int node = -1;
  void See(int64_t now, int at) {
    if (now > bytes) *this = {now, at};
  }
};

// Of this microbatch in its forward pass, besides what other microbatches hold.
void WalkForward(const RecomputeModel& model, const Backward& backward, int64_t base, Peak& peak) {
  const size_t kernels = model.kernels.size();
  std::vector<int64_t> freed(kernels + 1, 0);
  int64_t live = base;
  auto goes = [&](int g, int when) {
    freed[static_cast<size_t>(std::max(when, 0))] += model.groups[static_cast<size_t>(g)].bytes;
  };
  std::vector<int> leaving;
  for (size_t i = 0; i < model.groups.size(); ++i) {
    const RecomputeGroup& group = model.groups[i];
    const Presence presence = backward.lives[i].presence;
    if (group.kernel < 0) live += group.bytes;
    if (presence == Presence::kHeld) continue;
    if (presence == Presence::kOffloaded) {
      leaving.push_back(static_cast<int>(i));
    } else {
      goes(static_cast<int>(i), group.released);
    }
  }
  auto released = [&](int g) { return model.groups[static_cast<size_t>(g)].released; };
  std::sort(leaving.begin(), leaving.end(),
            [&](int a, int b) { return std::pair(released(a), a) < std::pair(released(b), b); });
  const auto ahead = static_cast<size_t>(model.offload_ahead);
  for (size_t i = 0; i < leaving.size(); ++i) {
    goes(leaving[i],
         i + ahead < leaving.size() ? released(leaving[i + ahead]) : static_cast<int>(kernels));
  }
  for (size_t k = 0; k < kernels; ++k) {
    for (int g : model.kernels[k].outputs) live += model.groups[static_cast<size_t>(g)].bytes;
    peak.See(live + model.kernels[k].workspace, -1);
    live -= freed[k];
  }
}

class BackwardWalk {
 public:
  BackwardWalk(const RecomputeModel& model, const Backward& backward, int64_t held)
      : model_(model), backward_(backward), live_(held), freed_(backward.events.size(), 0) {
    for (size_t i = 0; i < backward.lives.size(); ++i) {
      const Life& life = backward.lives[i];
      if (life.presence != Presence::kUnknown) {
        freed_[static_cast<size_t>(life.last)] += model.groups[i].bytes;
      }
    }
    place_.resize(model.groups.size(), -1);
    for (size_t i = 0; i < backward.offloads.size(); ++i) {
      place_[static_cast<size_t>(backward.offloads[i])] = static_cast<int>(i);
    }
  }

  void Run(Peak& peak) {
    Fetch(model_.offload_ahead);
    int node = 0;  // the one that replays are for
    for (size_t e = 0; e < backward_.events.size(); ++e) {
      const Event& event = backward_.events[e];
      const RecomputeModel::Node& of = model_.backward[static_cast<size_t>(node)];
      if (event.node >= 0) {
        for (int g : of.reads) Use(g);
        peak.See(live_ + std::max(of.read_bytes, of.peak_bytes), node++);
      } else {
        const auto& kernel = model_.kernels[static_cast<size_t>(event.kernel)];
        for (int g : kernel.inputs) Use(g);
        int64_t thrown_away = 0;
        for (int g : kernel.outputs) {
          const Life& life = backward_.lives[static_cast<size_t>(g)];
          const bool made = life.presence == Presence::kMadeAgain;
          (made ? live_ : thrown_away) += model_.groups[static_cast<size_t>(g)].bytes;
        }
        peak.See(live_ + thrown_away + kernel.workspace + of.read_bytes, node);
      }
      live_ -= freed_[e];
    }
  }

 private:
  void Use(int g) {
    if (place_[static_cast<size_t>(g)] >= 0) {
      Fetch(place_[static_cast<size_t>(g)] + 1 + model_.offload_ahead);
    }
  }
  // The first `count` offloaded groups are on the device from now on.
  void Fetch(int count) {
    for (; fetched_ < std::min(count, static_cast<int>(backward_.offloads.size())); ++fetched_) {
      const int g = backward_.offloads[static_cast<size_t>(fetched_)];
      live_ += model_.groups[static_cast<size_t>(g)].bytes;
    }
  }

  const RecomputeModel& model_;
  const Backward& backward_;
  int64_t live_;
  std::vector<int64_t> freed_;  // after each event
  std::vector<int> place_;      // of a group among the offloads
  int fetched_ = 0;
};

}  // namespace

RecomputeCost Evaluate(const RecomputeModel& model, const ClassActions& actions) {
  const Backward backward = Order(model, actions).Run();
  RecomputeCost cost;
  int64_t held_once = 0;
  for (size_t i = 0; i < model.groups.size(); ++i) {
    const RecomputeGroup& group = model.groups[i];
    const Presence presence = backward.lives[i].presence;
    const int64_t all = group.bytes * group.copies;
    if (presence == Presence::kHeld) {
      held_once += group.bytes;
      cost.held_bytes += all;
    } else if (presence == Presence::kOffloaded) {
      cost.host_bytes += all;
      cost.seconds += group.offload_seconds;
    }
  }
  for (const Event& event : backward.events) {
    if (event.kernel < 0) continue;
    cost.seconds += model.kernels[static_cast<size_t>(event.kernel)].seconds;
    ++cost.replayed;
  }
  const int64_t others = model.fixed_bytes + cost.held_bytes - held_once;
  Peak peak;
  WalkForward(model, backward, others, peak);
  BackwardWalk(model, backward, others + held_once).Run(peak);
  cost.peak_bytes = peak.bytes;
  cost.peak_node = peak.node;
  return cost;
}

RecomputeCost Evaluate(const RecomputeGraph& graph, const RecomputeChoice& choice) {
  const RecomputeModel model = MakeRecomputeModel(graph);
  return Evaluate(model, ActionsOf(model, choice));
}

}  // namespace choir
