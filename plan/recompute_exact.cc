#include "plan/recompute_exact.h"

#include <algorithm>
#include <limits>

namespace choir {
namespace {

constexpr int kPriceSteps = 12;

class Branching {
 public:
  Branching(const RecomputeModel& model, const RecomputeRelaxation& relaxation, int64_t budget,
            std::optional<FoundChoice> found, int64_t solves)
      : model_(model),
        relaxation_(relaxation),
        budget_(budget),
        solves_(solves),
        best_(std::move(found)),
        decided_(model.classes.size()) {
    for (size_t c = 0; c < model.classes.size(); ++c) order_.push_back(c);
    auto bytes = [&](size_t c) {
      int64_t sum = 0;
      for (int g : model.classes[c].groups) {
        const RecomputeGroup& group = model.groups[static_cast<size_t>(g)];
        sum += group.bytes * group.copies;
      }
      return sum;
    };
    std::stable_sort(order_.begin(), order_.end(),
                     [&](size_t a, size_t b) { return bytes(a) > bytes(b); });
  }

  ExactSearch Run(const MemoryPrices& prices) && {
    Branch(0, prices);
    return {std::move(best_), solves_ > 0};
  }

 private:
  double Target() const {
    return best_ ? best_->cost.seconds : std::numeric_limits<double>::infinity();
  }
  // Rounding of sums must not make equals differ.
  bool Hopeless(double bound) const { return bound >= Target() * (1 - 1e-10); }

  void Look(ClassActions actions) {
    const RecomputeCost cost = Evaluate(model_, actions);
    if (cost.peak_bytes <= budget_ && cost.seconds < Target()) {
      best_ = FoundChoice{std::move(actions), cost};
    }
  }

  // False if the relaxation rules the decisions out; `prices` are moved to where it says most.
  bool Hopeful(MemoryPrices& prices) {
    for (int step = 0; step < kPriceSteps; ++step) {
      if (--solves_ <= 0) return true;
      RelaxedChoice choice = relaxation_.Solve(prices, budget_, decided_);
      if (Hopeless(choice.seconds)) return false;
      int64_t most = 0;
      size_t worst = 0;
      double square = 0;
      for (size_t m = 0; m < prices.size(); ++m) {
        const int64_t over = choice.bytes[m] - budget_;
        if (over > most) {
          most = over;
          worst = m;
        }
        if (over > 0 || prices[m] > 0) square += static_cast<double>(over) * over;
      }
      Look(std::move(choice.actions));
      if (Hopeless(choice.seconds)) return false;
      if (square == 0) return true;
      if (!best_) {  // nothing to aim at: the worst moment gets dearer
        if (most == 0) return true;
        prices[worst] = std::min(4 * prices[worst] + 0.1 * relaxation_.unit_price(),
                                 1024 * relaxation_.unit_price());
        continue;
      }
      const double move = (Target() - choice.seconds) / square;
      for (size_t m = 0; m < prices.size(); ++m) {
        const auto over = static_cast<double>(choice.bytes[m] - budget_);
        if (over > 0 || prices[m] > 0) prices[m] = std::max(0.0, prices[m] + move * over);
      }
    }
    return true;
  }

  void Branch(size_t depth, MemoryPrices prices) {
    if (solves_ <= 0) return;
    if (depth == order_.size()) {
      ClassActions actions;
      for (const auto& action : decided_) actions.push_back(*action);
      return Look(std::move(actions));
    }
    if (!Hopeful(prices)) return;
    const size_t c = order_[depth];
    for (RecomputeAction action :
         {RecomputeAction::kKeep, RecomputeAction::kRecompute, RecomputeAction::kOffload}) {
      if (action == RecomputeAction::kOffload && !model_.classes[c].can_offload) continue;
      decided_[c] = action;
      Branch(depth + 1, prices);
    }
    decided_[c].reset();
  }

  const RecomputeModel& model_;
  const RecomputeRelaxation& relaxation_;
  int64_t budget_, solves_;
  std::optional<FoundChoice> best_;
  DecidedActions decided_;
  std::vector<size_t> order_;  // of classes: the largest first
};

}  // namespace

ExactSearch SearchExactly(const RecomputeModel& model, const RecomputeRelaxation& relaxation,
                          int64_t budget, std::optional<FoundChoice> found,
                          const MemoryPrices& prices, int64_t solves) {
  return Branching(model, relaxation, budget, std::move(found), solves).Run(prices);
}

}  // namespace choir
