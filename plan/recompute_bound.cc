#include "plan/recompute_bound.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace choir {
namespace {

constexpr int kScaleBits = 40;  // all time is 2^40

size_t At(int i) { return static_cast<size_t>(i); }

// Backward nodes up to whose start a group must be there if it is held; at least the moment
// between the passes.
int HeldUntil(const RecomputeGroup& group) { return std::max(group.first_read, 0); }

}  // namespace

// Variables: a class drops (what the backward pass reads); a group is needed, that no node reads;
// a kernel runs again.
struct RecomputeRelaxation::Problem {
  const DecidedActions& decided;
  std::vector<double> before;  // sums of the prices of earlier moments
  std::vector<double> hold;    // seconds that holding a group costs at these prices
  BinaryCosts costs;
  double constant = 0;
  double scale;
  int groups, kernels;  // first variables

  std::optional<RecomputeAction> Decided(int c) const {
    return decided.empty() ? std::nullopt : decided[At(c)];
  }
  // Rounded down, and at most 64 times all time: a bound stays one, and sums stay in range.
  int64_t Whole(double seconds) const {
    return static_cast<int64_t>(std::min(seconds * scale, std::ldexp(1.0, kScaleBits + 6)));
  }
  int Needed(int g) const { return groups + g; }
  int Again(int k) const { return kernels + k; }
};

RecomputeRelaxation::RecomputeRelaxation(const RecomputeModel& model) : model_(model) {
  floor_bytes_.assign(model.backward.size() + 1, model.fixed_bytes);
  if (!model.backward.empty()) floor_bytes_[0] += model.backward[0].read_bytes;
  double seconds = 0, bytes = 0;
  for (size_t j = 0; j < model.backward.size(); ++j) {
    floor_bytes_[j + 1] += std::max(model.backward[j].peak_bytes, model.backward[j].read_bytes);
  }
  for (const RecomputeGroup& group : model.groups) {
    bytes += static_cast<double>(group.bytes) * group.copies;
    seconds += std::max(0.0, group.offload_seconds);
    if (group.first_read < 0) continue;
    for (int j = group.first_read; j <= group.last_read; ++j)
      floor_bytes_[At(j + 1)] += group.bytes;
  }
  for (const RecomputeModel::Kernel& kernel : model.kernels) seconds += kernel.seconds;
  scale_ = std::ldexp(1.0, kScaleBits) / std::max(seconds, 1e-30);
  unit_price_ = std::max(seconds, 1e-30) / std::max(bytes, 1.0);
  for (const RecomputeClass& c : model.classes) {
    auto is_read = [&](int g) { return model.groups[At(g)].first_read >= 0; };
    direct_.push_back(std::all_of(c.groups.begin(), c.groups.end(), is_read));
    some_direct_.push_back(std::any_of(c.groups.begin(), c.groups.end(), is_read));
  }
  FindWaits();
}

// Of each kernel with one result that may be dropped; no byte of the result stands for two groups.
void RecomputeRelaxation::FindWaits() {
  waits_.resize(model_.groups.size());
  for (size_t k = 0; k < model_.kernels.size(); ++k) {
    const RecomputeModel::Kernel& kernel = model_.kernels[k];
    int result = -1, droppable = 0;
    for (int o : kernel.outputs) {
      if (model_.groups[At(o)].group_class < 0) continue;
      result = o;
      ++droppable;
    }
    if (droppable != 1 || model_.groups[At(result)].first_read < 1) continue;
    int64_t left = model_.groups[At(result)].bytes;
    for (int g : kernel.inputs) {
      const RecomputeGroup& group = model_.groups[At(g)];
      if (group.first_read >= 0 || waits_[At(g)].kernel >= 0) continue;
      waits_[At(g)] = {static_cast<int>(k), model_.groups[At(result)].first_read,
                       std::min(left, group.bytes)};
      left -= waits_[At(g)].bytes;
    }
  }
}

std::vector<double> RecomputeRelaxation::HoldCosts(const std::vector<double>& before) const {
  std::vector<double> hold;
  for (const RecomputeGroup& group : model_.groups) {
    hold.push_back(static_cast<double>(group.bytes) *
                   ((group.copies - 1) * before.back() + before[At(HeldUntil(group)) + 1]));
  }
  return hold;
}

void RecomputeRelaxation::AddWaits(Problem& p) const {
  for (size_t g = 0; g < waits_.size(); ++g) {
    const Wait& wait = waits_[g];
    if (wait.kernel < 0) continue;
    const int c = model_.groups[g].group_class;
    const std::optional<RecomputeAction> decided = c < 0 ? RecomputeAction::kKeep : p.Decided(c);
    const bool stays = decided == RecomputeAction::kKeep;
    if (decided ? !stays : model_.classes[At(c)].can_offload) continue;
    const int64_t cost =
        p.Whole(static_cast<double>(wait.bytes) * (p.before[At(wait.until) + 1] - p.before[1]));
    if (stays) {
      p.costs.IfOne(p.Again(wait.kernel), cost);
    } else {
      p.costs.IfOneAndZero(p.Again(wait.kernel), p.Again(model_.groups[g].kernel), cost);
    }
  }
}

void RecomputeRelaxation::AddClasses(Problem& p) const {
  for (size_t i = 0; i < model_.classes.size(); ++i) {
    const RecomputeClass& c = model_.classes[i];
    const int drop = static_cast<int>(i);
    const std::optional<RecomputeAction> decided = p.Decided(drop);
    const bool may_go = !decided ? c.can_offload : *decided == RecomputeAction::kOffload;
    const bool must_go = decided == RecomputeAction::kOffload;
    auto held = [&](double hold, double offload) {
      return must_go ? offload : may_go ? std::min(hold, offload) : hold;
    };
    double hold = 0, offload = 0;
    for (int g : c.groups) {
      const RecomputeGroup& group = model_.groups[At(g)];
      if (group.first_read >= 0) {
        p.costs.IfOneAndZero(drop, p.Again(group.kernel), BinaryCosts::kNever);
        if (!direct_[i]) p.costs.IfZero(drop, p.Whole(held(p.hold[At(g)], group.offload_seconds)));
        hold += p.hold[At(g)];
        offload += group.offload_seconds;
        continue;
      }
      const int64_t cost = p.Whole(held(p.hold[At(g)], group.offload_seconds));
      if (decided == RecomputeAction::kRecompute) {
        p.costs.IfOneAndZero(p.Needed(g), p.Again(group.kernel), BinaryCosts::kNever);
      } else if (decided) {
        p.costs.IfOne(p.Needed(g), cost);
      } else {
        p.costs.IfOneAndZero(p.Needed(g), p.Again(group.kernel), cost);
        const bool alone = model_.kernels[At(group.kernel)].outputs.size() == 1;
        if (alone && some_direct_[i]) {
          p.costs.IfOneAndZero(p.Again(group.kernel), drop, BinaryCosts::kNever);
        }
      }
    }
    if (direct_[i]) p.costs.IfZero(drop, p.Whole(held(hold, offload)));
    if (!decided) continue;
    const bool drops = *decided == RecomputeAction::kRecompute;
    (drops ? p.costs.IfZero(drop, BinaryCosts::kNever)
           : p.costs.IfOne(drop, some_direct_[i] ? BinaryCosts::kNever : 0));
  }
}

void RecomputeRelaxation::AddKernels(Problem& p) const {
  for (size_t k = 0; k < model_.kernels.size(); ++k) {
    const RecomputeModel::Kernel& kernel = model_.kernels[k];
    const int again = p.Again(static_cast<int>(k));
    p.costs.IfOne(again, p.Whole(kernel.seconds));
    for (int g : kernel.inputs) {
      if (model_.groups[At(g)].first_read >= 0) continue;
      p.costs.IfOneAndZero(again, p.Needed(g), BinaryCosts::kNever);
    }
  }
  for (size_t g = 0; g < model_.groups.size(); ++g) {
    const RecomputeGroup& group = model_.groups[g];
    if (group.group_class >= 0) continue;
    if (group.first_read >= 0) {
      p.constant += p.hold[g];
    } else {
      p.costs.IfOne(p.Needed(static_cast<int>(g)), p.Whole(p.hold[g]));
    }
  }
}

RelaxedChoice RecomputeRelaxation::Read(const Problem& p, const std::vector<bool>& values) const {
  RelaxedChoice choice;
  std::vector<int64_t> until(moments() + 1, 0);  // held to the start of this node, by node
  int64_t others = 0;
  auto hold = [&](int g) {
    const RecomputeGroup& group = model_.groups[At(g)];
    const Wait& wait = waits_[At(g)];
    const int64_t waiting = wait.kernel >= 0 && values[At(p.Again(wait.kernel))] ? wait.bytes : 0;
    until[At(wait.until)] += waiting;
    until[At(HeldUntil(group))] += group.bytes - waiting;
    others += group.bytes * (group.copies - 1);
  };
  auto needed = [&](int g) {
    return model_.groups[At(g)].first_read >= 0 || values[At(p.Needed(g))];
  };
  for (size_t i = 0; i < model_.classes.size(); ++i) {
    const RecomputeClass& c = model_.classes[i];
    double held = 0, offload = 0, again = 0;
    bool drops = some_direct_[i] && values[i], any = false;
    for (int g : c.groups) {
      held += p.hold[At(g)];
      offload += model_.groups[At(g)].offload_seconds;
      again += model_.kernels[At(model_.groups[At(g)].kernel)].seconds;
      any = any || needed(g);
      if (!some_direct_[i] && needed(g)) {
        drops = drops || values[At(p.Again(model_.groups[At(g)].kernel))];
      }
    }
    if (!any) drops = again < held;  // nothing needs it: what would be best if something did
    const bool away = c.can_offload && offload < held;
    RecomputeAction action = drops  ? RecomputeAction::kRecompute
                             : away ? RecomputeAction::kOffload
                                    : RecomputeAction::kKeep;
    action = p.Decided(static_cast<int>(i)).value_or(action);
    choice.actions.push_back(action);
    for (int g : c.groups) {
      if (action == RecomputeAction::kKeep && needed(g)) hold(g);
    }
  }
  for (size_t g = 0; g < model_.groups.size(); ++g) {
    if (model_.groups[g].group_class < 0 && needed(static_cast<int>(g))) {
      hold(static_cast<int>(g));
    }
  }
  choice.bytes.resize(moments());
  int64_t held = others;
  for (size_t m = moments(); m-- > 0;) {  // moment m: held to the start of node m or later
    held += until[m];
    choice.bytes[m] = floor_bytes_[m] + held;
  }
  return choice;
}

RelaxedChoice RecomputeRelaxation::Solve(const MemoryPrices& prices, int64_t budget,
                                         const DecidedActions& decided) const {
  CHECK(prices.size() == moments());
  const auto classes = static_cast<int>(model_.classes.size());
  const auto groups = static_cast<int>(model_.groups.size());
  const auto kernels = static_cast<int>(model_.kernels.size());
  std::vector<double> before(prices.size() + 1, 0);
  for (size_t i = 0; i < prices.size(); ++i) before[i + 1] = before[i] + prices[i];
  Problem problem{.decided = decided,
                  .before = before,
                  .hold = HoldCosts(before),
                  .costs = BinaryCosts(classes + groups + kernels),
                  .scale = scale_,
                  .groups = classes,
                  .kernels = classes + groups};
  for (size_t m = 0; m < prices.size(); ++m) {
    problem.constant += prices[m] * static_cast<double>(floor_bytes_[m] - budget);
  }
  AddClasses(problem);
  AddKernels(problem);
  AddWaits(problem);
  std::vector<bool> values;
  const int64_t least = problem.costs.Minimise(values);
  RelaxedChoice choice = Read(problem, values);
  choice.seconds = static_cast<double>(least) / scale_ + problem.constant;
  return choice;
}

}  // namespace choir
