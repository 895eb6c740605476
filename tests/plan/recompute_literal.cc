#include <algorithm>
#include <set>

#include "base/check.h"
#include "tests/plan/recompute_graphs.h"

namespace choir {
namespace {

// A tape by the letter. Values are sources of views only: whoever reads a view reads its source.
class Literal {
 public:
  Literal(const RecomputeGraph& graph, const RecomputeChoice& choice)
      : graph_(graph), choice_(choice), ran_again_(graph.kernels.size(), false) {}

  RecomputeCost Run() {
    const std::set<int> wanted = Wanted();
    for (int t : wanted) {
      if (Drops(t)) continue;
      const RecomputeTensor& tensor = At(t);
      if (Away(t)) {
        cost_.seconds += tensor.offload_seconds;
        cost_.host_bytes += tensor.bytes * tensor.copies;
        away_.push_back(t);
        continue;
      }
      held_.insert(t);
      cost_.held_bytes += tensor.bytes * tensor.copies;
      others_ += tensor.bytes * (tensor.copies - 1);
    }
    Forward();
    device_ = held_;
    std::sort(away_.begin(), away_.end(), [&](int a, int b) {
      return std::pair(At(a).kernel, a) > std::pair(At(b).kernel, b);
    });
    Fetch(graph_.offload_ahead);
    for (node_ = 0; node_ < static_cast<int>(graph_.backward.size()); ++node_) {
      const RecomputeNode& node = graph_.backward[static_cast<size_t>(node_)];
      for (int t : node.reads) Get(t);
      for (int t : node.reads) Touch(t);
      See(std::max(node.peak_bytes, node.read_bytes), node_);
      done_ = node_ + 1;
      ThrowAway();
    }
    return cost_;
  }

 private:
  const RecomputeTensor& At(int t) const { return graph_.tensors[static_cast<size_t>(t)]; }
  int Source(int t) const { return At(t).view_of >= 0 ? At(t).view_of : t; }
  bool Free(int t) const {  // whether a policy is asked
    if (At(t).kernel < 0 || At(t).tag.empty()) return false;
    for (size_t i = 0; i < graph_.tensors.size(); ++i) {
      if (Source(static_cast<int>(i)) == t && graph_.tensors[i].decision) return false;
    }
    return true;
  }
  RecomputeAction Action(int t) const {
    return Free(t) ? choice_[static_cast<size_t>(t)] : RecomputeAction::kKeep;
  }
  bool Drops(int t) const { return Action(t) == RecomputeAction::kRecompute; }
  bool Away(int t) const { return Action(t) == RecomputeAction::kOffload; }

  // Sources that a step from now on may read, of kernels that may have to run again.
  std::set<int> Wanted() const {
    std::set<int> wanted;
    std::vector<int> look;
    auto want = [&](int t) {
      if (wanted.insert(Source(t)).second) look.push_back(Source(t));
    };
    for (size_t j = static_cast<size_t>(done_); j < graph_.backward.size(); ++j) {
      for (int t : graph_.backward[j].reads) want(t);
    }
    while (!look.empty()) {
      const int t = look.back();
      look.pop_back();
      if (!Drops(t) || device_.count(t) > 0) continue;
      for (int i : graph_.kernels[static_cast<size_t>(At(t).kernel)].inputs) want(i);
    }
    return wanted;
  }

  void ThrowAway() {
    const std::set<int> wanted = Wanted();
    std::erase_if(device_, [&](int t) { return wanted.count(t) == 0; });
  }

  void See(int64_t more, int node) {
    int64_t now = graph_.fixed_bytes + others_ + more;
    for (int t : device_) now += At(t).bytes;
    if (now > cost_.peak_bytes) {
      cost_.peak_bytes = now;
      cost_.peak_node = node;
    }
  }

  void Fetch(int count) {
    for (; fetched_ < std::min(count, static_cast<int>(away_.size())); ++fetched_) {
      device_.insert(away_[static_cast<size_t>(fetched_)]);
    }
  }
  void Touch(int t) {  // used: the next offloaded tensors set out
    const auto at = std::find(away_.begin(), away_.end(), Source(t));
    if (at != away_.end()) {
      Fetch(static_cast<int>(at - away_.begin()) + 1 + graph_.offload_ahead);
    }
  }

  void Get(int t) {
    t = Source(t);
    if (!Drops(t) || device_.count(t) > 0) return;
    const int k = At(t).kernel;
    const RecomputeKernel& kernel = graph_.kernels[static_cast<size_t>(k)];
    for (int i : kernel.inputs) Get(i);
    for (int i : kernel.inputs) Touch(i);
    CHECK(!ran_again_[static_cast<size_t>(k)]);
    ran_again_[static_cast<size_t>(k)] = true;
    cost_.seconds += kernel.seconds;
    ++cost_.replayed;
    int64_t kept = 0;
    for (int o : kernel.outputs) {
      if (At(o).view_of >= 0) continue;
      if (Drops(o)) {
        device_.insert(o);
      } else {
        kept += At(o).bytes;
      }
    }
    const int64_t gradients = graph_.backward[static_cast<size_t>(node_)].read_bytes;
    See(kept + kernel.workspace + gradients, node_);
    ThrowAway();
  }

  void Forward() {
    const auto kernels = static_cast<int>(graph_.kernels.size());
    std::vector<int> released(graph_.tensors.size(), -1);
    for (size_t i = 0; i < graph_.tensors.size(); ++i) {
      int& r = released[static_cast<size_t>(Source(static_cast<int>(i)))];
      r = std::max({r, graph_.tensors[i].released, 0});
    }
    std::vector<int> leaving = away_;
    auto when = [&](int t) { return std::pair(released[static_cast<size_t>(t)], t); };
    std::sort(leaving.begin(), leaving.end(), [&](int a, int b) { return when(a) < when(b); });
    for (size_t i = 0; i < graph_.tensors.size(); ++i) {
      if (graph_.tensors[i].view_of < 0 && graph_.tensors[i].kernel < 0) {
        device_.insert(static_cast<int>(i));
      }
    }
    const auto ahead = static_cast<size_t>(graph_.offload_ahead);
    for (int k = 0; k < kernels; ++k) {
      for (int o : graph_.kernels[static_cast<size_t>(k)].outputs) {
        if (At(o).view_of < 0) device_.insert(o);
      }
      See(graph_.kernels[static_cast<size_t>(k)].workspace, -1);
      std::erase_if(device_, [&](int t) {
        if (held_.count(t) > 0) return false;
        const auto at = std::find(leaving.begin(), leaving.end(), t);
        if (at == leaving.end()) return released[static_cast<size_t>(t)] <= k;
        const size_t later = static_cast<size_t>(at - leaving.begin()) + ahead;
        return later < leaving.size() && released[static_cast<size_t>(leaving[later])] <= k;
      });
    }
    device_.clear();
  }

  const RecomputeGraph& graph_;
  const RecomputeChoice& choice_;
  std::vector<bool> ran_again_;
  std::set<int> held_, device_;
  std::vector<int> away_;
  int64_t others_ = 0;
  int node_ = 0, done_ = 0, fetched_ = 0;
  RecomputeCost cost_;
};

}  // namespace

RecomputeCost LiteralCost(const RecomputeGraph& graph, const RecomputeChoice& choice) {
  return Literal(graph, choice).Run();
}

}  // namespace choir
