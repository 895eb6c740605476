// Finds cheap choices: the relaxation's choices at many prices, their mixtures by layers, and then
// repeatedly the best way to give every layer another pattern (a knapsack).
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "plan/recompute_bound.h"
#include "plan/recompute_cost.h"

namespace choir {

struct FoundChoice {
  ClassActions actions;
  RecomputeCost cost;
};

// What no choice within a budget can be cheaper than, and the prices that show it.
struct RecomputeBound {
  double seconds = 0;
  MemoryPrices prices;
};

// Deterministic. Not thread-safe.
class RecomputeSearch {
 public:
  // `model` outlives it.
  explicit RecomputeSearch(const RecomputeModel& model);

  const RecomputeRelaxation& relaxation() const { return relaxation_; }
  // A cheap choice within the budget; none found: nullopt. `bound` becomes a bound for it.
  std::optional<FoundChoice> Best(int64_t budget, RecomputeBound& bound);
  // The choice that needs the fewest bytes, of those found; the same whatever came before.
  const FoundChoice& Least();

 private:
  using Pattern = std::vector<RecomputeAction>;  // of one layer's classes
  // A pattern for a layer, and by how much peak and time change if only this layer gets it.
  struct Move {
    Pattern pattern;
    int64_t bytes = 0;
    double seconds = 0;
  };

  void See(ClassActions actions, bool patterns = true);
  const FoundChoice* Seen(int64_t budget) const;  // the cheapest; null: none
  void AddPatterns(const ClassActions& actions);
  void FindKinds();
  void FindChoices();
  void Mix(const FoundChoice& fits, const FoundChoice& fast, int64_t budget, FoundChoice& best);
  ClassActions WithLayer(const ClassActions& actions, size_t layer, const Pattern& pattern) const;
  std::vector<Pattern> Candidates(const ClassActions& actions, size_t layer, bool pairs) const;
  std::vector<Move> MovesOf(const FoundChoice& from, size_t layer) const;
  std::vector<std::vector<Move>> Moves(const FoundChoice& from) const;
  std::vector<FoundChoice> Starts(int64_t budget) const;
  FoundChoice Descend(const FoundChoice& fits, int64_t budget, double bound);
  bool Improve(FoundChoice& choice, int64_t budget, int64_t reach) const;
  void PriceMoment(int64_t budget, size_t moment, RecomputeBound& bound);
  void TightenBound(int64_t budget, double target, int rounds, RecomputeBound& bound);

  const RecomputeModel& model_;
  RecomputeRelaxation relaxation_;
  std::vector<std::vector<int>> layers_;  // classes of each layer; of none: the first
  std::vector<int> kinds_;                // of each layer: equal where its classes look the same
  std::vector<std::vector<Pattern>> patterns_;  // seen in each layer
  std::vector<FoundChoice> seen_;
  // Of seen_ and patterns_: those from before any budget was looked at, for Least.
  size_t first_seen_ = 0;
  std::vector<size_t> first_patterns_;
  std::optional<FoundChoice> least_;
};

}  // namespace choir
