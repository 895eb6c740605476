#include "plan/recompute_search.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>

#include "plan/knapsack.h"
#include "plan/recompute_cuts.h"

namespace choir {
namespace {

constexpr int kPrices = 48;       // at most, to find choices with
constexpr int kBoundRounds = 60;  // of the subgradient method
constexpr int kImproveRounds = 10;
// Bytes that moves may exchange, in those of the largest: far is coarse, near is fine.
constexpr int64_t kFarReach = 40, kNearReach = 10;
constexpr int kLeastRounds = 6;
constexpr size_t kPairClasses = 40;  // layers with more are changed in one place at a time
constexpr size_t kStarts = 3;        // of the descent, besides the smallest
constexpr size_t kLarge = 1000;      // groups of a graph on which a start takes long
// Above the bound: a descent stops, no other start is tried.
constexpr double kCloseEnough = 1e-3, kGoodEnough = 5e-3, kGoodEnoughLarge = 2e-2;

bool Cheaper(const RecomputeCost& a, const RecomputeCost& b) {
  return std::pair(a.seconds, a.peak_bytes) < std::pair(b.seconds, b.peak_bytes);
}

// The first n of `count` layers that get the other pattern, in one of three orders: spread evenly,
// from the front, from the back.
bool IsFast(int order, size_t layer, size_t n, size_t count) {
  if (order == 1) return layer < n;
  if (order == 2) return layer >= count - n;
  return (layer + 1) * n / count > layer * n / count;
}

}  // namespace

RecomputeSearch::RecomputeSearch(const RecomputeModel& model) : model_(model), relaxation_(model) {
  std::map<int, std::vector<int>> by_layer;
  for (size_t c = 0; c < model.classes.size(); ++c) {
    by_layer[model.classes[c].names.front().second].push_back(static_cast<int>(c));
  }
  for (auto& [layer, classes] : by_layer) layers_.push_back(std::move(classes));
  patterns_.resize(layers_.size());
  FindKinds();
  See(ClassActions(model.classes.size(), RecomputeAction::kKeep));
  FindChoices();
  for (ClassActions& actions : CheckpointChoices(model)) See(std::move(actions));
  first_seen_ = seen_.size();
  for (const std::vector<Pattern>& patterns : patterns_) first_patterns_.push_back(patterns.size());
}

void RecomputeSearch::FindKinds() {
  using Look = std::tuple<std::string, size_t, int64_t, int, double, double>;
  std::map<std::vector<Look>, int> known;
  for (const std::vector<int>& classes : layers_) {
    std::vector<Look> looks;
    for (int i : classes) {
      const RecomputeClass& c = model_.classes[static_cast<size_t>(i)];
      for (int g : c.groups) {
        const RecomputeGroup& group = model_.groups[static_cast<size_t>(g)];
        looks.emplace_back(c.names.front().first, c.groups.size(), group.bytes, group.copies,
                           group.offload_seconds,
                           model_.kernels[static_cast<size_t>(group.kernel)].seconds);
      }
    }
    kinds_.push_back(known.emplace(std::move(looks), static_cast<int>(known.size())).first->second);
  }
}

void RecomputeSearch::AddPatterns(const ClassActions& actions) {
  for (size_t l = 0; l < layers_.size(); ++l) {
    Pattern pattern;
    for (int c : layers_[l]) pattern.push_back(actions[static_cast<size_t>(c)]);
    if (std::find(patterns_[l].begin(), patterns_[l].end(), pattern) == patterns_[l].end()) {
      patterns_[l].push_back(std::move(pattern));
    }
  }
}

void RecomputeSearch::See(ClassActions actions, bool patterns) {
  for (const FoundChoice& old : seen_) {
    if (old.actions == actions) return;
  }
  if (patterns) AddPatterns(actions);
  const RecomputeCost cost = Evaluate(model_, actions);
  seen_.push_back({std::move(actions), cost});
}

// Choices on the lower hull of (bytes between the passes, seconds): the price at which two of them
// are equal shows the one between them, or that there is none.
void RecomputeSearch::FindChoices() {
  struct Point {
    double bytes, seconds;
  };
  auto at = [&](double price) {
    MemoryPrices prices(relaxation_.moments(), 0);
    prices[0] = price;
    RelaxedChoice choice = relaxation_.Solve(prices, 0);
    const auto bytes = static_cast<double>(choice.bytes[0]);
    See(std::move(choice.actions));
    return Point{bytes, choice.seconds - price * bytes};
  };
  std::vector<std::pair<Point, Point>> gaps{{at(0), at(1024 * relaxation_.unit_price())}};
  for (size_t i = 0; i < gaps.size() && i < kPrices; ++i) {
    const auto [big, small] = gaps[i];
    if (small.bytes >= big.bytes || small.seconds <= big.seconds) continue;
    const double price = (small.seconds - big.seconds) / (big.bytes - small.bytes);
    const Point middle = at(price);
    const double here = middle.seconds + price * middle.bytes;
    if (here >= (big.seconds + price * big.bytes) * (1 - 1e-9)) continue;
    gaps.emplace_back(big, middle);
    gaps.emplace_back(middle, small);
  }
}

ClassActions RecomputeSearch::WithLayer(const ClassActions& actions, size_t layer,
                                        const Pattern& pattern) const {
  ClassActions changed = actions;
  for (size_t i = 0; i < pattern.size(); ++i) {
    changed[static_cast<size_t>(layers_[layer][i])] = pattern[i];
  }
  return changed;
}

// Layers of `fits` get what they have in `fast`, as many as go in.
void RecomputeSearch::Mix(const FoundChoice& fits, const FoundChoice& fast, int64_t budget,
                          FoundChoice& best) {
  const size_t count = layers_.size();
  for (int order = 0; order < 3; ++order) {
    size_t low = 0, high = count;  // `low` layers fit
    while (high - low > 1) {
      const size_t n = (low + high) / 2;
      ClassActions mixed = fits.actions;
      for (size_t l = 0; l < count; ++l) {
        if (!IsFast(order, l, n, count)) continue;
        for (int c : layers_[l]) {
          mixed[static_cast<size_t>(c)] = fast.actions[static_cast<size_t>(c)];
        }
      }
      const RecomputeCost cost = Evaluate(model_, mixed);
      (cost.peak_bytes <= budget ? low : high) = n;
      if (cost.peak_bytes <= budget && Cheaper(cost, best.cost)) best = {std::move(mixed), cost};
    }
  }
}

// Seen in this layer, and what one or two changes make of what it has now; that is the first.
std::vector<RecomputeSearch::Pattern> RecomputeSearch::Candidates(const ClassActions& actions,
                                                                  size_t layer, bool pairs) const {
  Pattern now;
  for (int c : layers_[layer]) now.push_back(actions[static_cast<size_t>(c)]);
  std::vector<Pattern> candidates = patterns_[layer];
  if (!pairs) candidates.resize(first_patterns_[layer]);
  auto change = [&](const Pattern& from, size_t begin) {
    for (size_t i = begin; i < from.size(); ++i) {
      const bool offload = model_.classes[static_cast<size_t>(layers_[layer][i])].can_offload;
      for (int action = 0; action < (offload ? 3 : 2); ++action) {
        Pattern changed = from;
        changed[i] = static_cast<RecomputeAction>(action);
        if (changed != from) candidates.push_back(std::move(changed));
      }
    }
  };
  change(now, 0);
  if (pairs && now.size() <= kPairClasses) {
    for (size_t n = candidates.size(), i = patterns_[layer].size(); i < n; ++i) {
      const Pattern once = candidates[i];
      const auto differs = std::mismatch(once.begin(), once.end(), now.begin()).first;
      change(once, static_cast<size_t>(differs - once.begin()) + 1);
    }
  }
  std::sort(candidates.begin(), candidates.end());
  candidates.erase(std::unique(candidates.begin(), candidates.end()), candidates.end());
  std::erase(candidates, now);
  candidates.insert(candidates.begin(), now);
  return candidates;
}

// Those that no other beats in both; the first changes nothing.
std::vector<RecomputeSearch::Move> RecomputeSearch::MovesOf(const FoundChoice& from,
                                                            size_t layer) const {
  std::vector<Move> moves;
  for (Pattern& pattern : Candidates(from.actions, layer, /*pairs=*/true)) {
    const RecomputeCost cost = Evaluate(model_, WithLayer(from.actions, layer, pattern));
    moves.push_back({std::move(pattern), cost.peak_bytes - from.cost.peak_bytes,
                     cost.seconds - from.cost.seconds});
  }
  std::stable_sort(moves.begin() + 1, moves.end(), [](const Move& a, const Move& b) {
    return std::pair(a.bytes, a.seconds) < std::pair(b.bytes, b.seconds);
  });
  std::vector<Move> good{moves[0]};
  double fastest = INFINITY;
  for (size_t i = 1; i < moves.size(); ++i) {
    if (moves[i].seconds >= fastest) continue;
    fastest = moves[i].seconds;
    if (moves[i].bytes < 0 || moves[i].seconds < 0) good.push_back(std::move(moves[i]));
  }
  return good;
}

// Layers that look like one before, have the same pattern and the same neighbours, are taken to
// have its moves: what is made of them is looked at as a whole.
std::vector<std::vector<RecomputeSearch::Move>> RecomputeSearch::Moves(
    const FoundChoice& from) const {
  using Here = std::vector<std::pair<int, Pattern>>;
  std::map<Here, size_t> first;
  std::vector<std::vector<Move>> all;
  for (size_t l = 0; l < layers_.size(); ++l) {
    const size_t before = std::min<size_t>(l, 2);
    Here here{{static_cast<int>(before), {}}};
    for (size_t i = l - before; i < std::min(l + 3, layers_.size()); ++i) {
      Pattern& pattern = here.emplace_back(kinds_[i], Pattern()).second;
      for (int c : layers_[i]) pattern.push_back(from.actions[static_cast<size_t>(c)]);
    }
    const auto [at, added] = first.emplace(std::move(here), l);
    all.push_back(added ? MovesOf(from, l) : all[at->second]);
  }
  return all;
}

bool RecomputeSearch::Improve(FoundChoice& choice, int64_t budget, int64_t reach) const {
  const std::vector<std::vector<Move>> moves = Moves(choice);
  std::vector<std::vector<KnapsackItem>> kinds;
  int64_t largest = 1;
  for (const auto& of_layer : moves) {
    auto& items = kinds.emplace_back();
    for (const Move& move : of_layer) {
      items.push_back({move.bytes, move.seconds});
      largest = std::max(largest, std::abs(move.bytes));
    }
  }
  bool better = false;
  const FoundChoice from = choice;
  int64_t room = budget - from.cost.peak_bytes;
  for (int attempt = 0; attempt < 6 && room >= 0; ++attempt) {
    const std::vector<size_t> take = SolveKnapsack(kinds, room, reach * largest);
    ClassActions actions = from.actions;
    for (size_t l = 0; l < take.size(); ++l) {
      actions = WithLayer(actions, l, moves[l][take[l]].pattern);
    }
    const RecomputeCost cost = Evaluate(model_, actions);
    if (cost.peak_bytes <= budget) {
      if (Cheaper(cost, choice.cost)) {
        choice = {std::move(actions), cost};
        better = true;
      }
      break;
    }
    room -= std::max<int64_t>(1, cost.peak_bytes - budget);  // together they need more than apart
  }
  return better;
}

// Polyak's subgradient method on the prices: what is over budget becomes dearer.
void RecomputeSearch::TightenBound(int64_t budget, double target, int rounds,
                                   RecomputeBound& bound) {
  MemoryPrices prices = bound.prices;
  double step_scale = 1;
  for (int round = 0; round < rounds; ++round) {
    RelaxedChoice choice = relaxation_.Solve(prices, budget);
    if (choice.seconds > bound.seconds) {
      bound = {choice.seconds, prices};
    } else {
      step_scale *= 0.93;
    }
    double square = 0;
    std::vector<double> over(prices.size(), 0);
    for (size_t m = 0; m < prices.size(); ++m) {
      const auto excess = static_cast<double>(choice.bytes[m] - budget);
      if (excess > 0 || prices[m] > 0) over[m] = excess;
      square += over[m] * over[m];
    }
    See(std::move(choice.actions), /*patterns=*/false);
    if (square == 0 || target <= choice.seconds) break;
    const double step = step_scale * (target - choice.seconds) / square;
    for (size_t m = 0; m < prices.size(); ++m)
      prices[m] = std::max(0.0, prices[m] + step * over[m]);
  }
}

// The best price of one moment alone, to 1 %.
void RecomputeSearch::PriceMoment(int64_t budget, size_t moment, RecomputeBound& bound) {
  double low = std::log(1e-6 * relaxation_.unit_price());
  double high = std::log(1024 * relaxation_.unit_price());
  while (high - low > 0.01) {
    const double middle = (low + high) / 2;
    MemoryPrices prices(relaxation_.moments(), 0);
    prices[moment] = std::exp(middle);
    RelaxedChoice choice = relaxation_.Solve(prices, budget);
    (choice.bytes[moment] > budget ? low : high) = middle;
    if (choice.seconds > bound.seconds) bound = {choice.seconds, prices};
    See(std::move(choice.actions));
  }
}

const FoundChoice* RecomputeSearch::Seen(int64_t budget) const {
  const FoundChoice* best = nullptr;
  for (const FoundChoice& choice : seen_) {
    if (choice.cost.peak_bytes > budget) continue;
    if (best == nullptr || Cheaper(choice.cost, best->cost)) best = &choice;
  }
  return best;
}

// The cheapest that fit, and the smallest.
std::vector<FoundChoice> RecomputeSearch::Starts(int64_t budget) const {
  std::vector<FoundChoice> starts;
  const FoundChoice* smallest = nullptr;
  for (const FoundChoice& choice : seen_) {
    if (choice.cost.peak_bytes > budget) continue;
    starts.push_back(choice);
    if (smallest == nullptr || choice.cost.peak_bytes < smallest->cost.peak_bytes) {
      smallest = &choice;
    }
  }
  std::stable_sort(starts.begin(), starts.end(), [](const FoundChoice& a, const FoundChoice& b) {
    return Cheaper(a.cost, b.cost);
  });
  starts.resize(std::min(starts.size(), kStarts));
  if (smallest != nullptr) starts.push_back(*smallest);
  return starts;
}

FoundChoice RecomputeSearch::Descend(const FoundChoice& fits, int64_t budget, double bound) {
  FoundChoice choice = fits;
  for (const FoundChoice& fast : seen_) {
    if (fast.cost.peak_bytes > budget && fast.cost.seconds < fits.cost.seconds) {
      Mix(fits, fast, budget, choice);
    }
  }
  for (int round = 0; round < kImproveRounds; ++round) {
    if (choice.cost.seconds <= bound * (1 + kCloseEnough)) break;
    if (!Improve(choice, budget, kFarReach) && !Improve(choice, budget, kNearReach)) break;
  }
  return choice;
}

std::optional<FoundChoice> RecomputeSearch::Best(int64_t budget, RecomputeBound& bound) {
  bound = {0, MemoryPrices(relaxation_.moments(), 0)};
  PriceMoment(budget, 0, bound);
  const auto keep_peak = static_cast<size_t>(seen_.front().cost.peak_node + 1);
  if (keep_peak > 0) PriceMoment(budget, keep_peak, bound);
  if (Seen(budget) == nullptr) Least();
  const FoundChoice* found = Seen(budget);
  TightenBound(budget, found != nullptr ? found->cost.seconds : 1.2 * bound.seconds, kBoundRounds,
               bound);
  found = Seen(budget);
  if (found == nullptr) return std::nullopt;
  std::optional<FoundChoice> best;
  const double enough = model_.groups.size() > kLarge ? kGoodEnoughLarge : kGoodEnough;
  for (const FoundChoice& start : Starts(budget)) {
    FoundChoice choice = Descend(start, budget, bound.seconds);
    if (!best || Cheaper(choice.cost, best->cost)) best = std::move(choice);
    if (best->cost.seconds <= bound.seconds * (1 + enough)) break;
  }
  const FoundChoice choice = *std::move(best);
  See(choice.actions);
  const auto peak = static_cast<size_t>(choice.cost.peak_node + 1);
  if (peak != 0 && peak != keep_peak) PriceMoment(budget, peak, bound);
  TightenBound(budget, choice.cost.seconds, kBoundRounds, bound);
  return choice;
}

const FoundChoice& RecomputeSearch::Least() {
  if (least_) return *least_;
  auto smaller = [](const FoundChoice& a, const FoundChoice& b) {
    return std::pair(a.cost.peak_bytes, a.cost.seconds) <
           std::pair(b.cost.peak_bytes, b.cost.seconds);
  };
  const auto end = seen_.begin() + static_cast<std::ptrdiff_t>(first_seen_);
  FoundChoice best = *std::min_element(seen_.begin(), end, smaller);
  bool better = true;
  for (int round = 0; better && round < kLeastRounds; ++round) {
    better = false;
    for (size_t l = 0; l < layers_.size(); ++l) {
      for (const Pattern& pattern : Candidates(best.actions, l, /*pairs=*/false)) {
        FoundChoice next{WithLayer(best.actions, l, pattern), {}};
        next.cost = Evaluate(model_, next.actions);
        if (!smaller(next, best)) continue;
        best = std::move(next);
        better = true;
      }
    }
  }
  See(best.actions);
  return least_.emplace(std::move(best));
}

}  // namespace choir
