// How little time a memory budget can cost: a relaxation that is solved exactly.
//
// Memory is looked at only between the passes and at backward nodes, and there only what must be
// alive: what the node reads, what is held for later nodes, and what other microbatches hold. Put
// prices on the bytes at these moments (Lagrange multipliers), and what is left,
//   time + price * bytes,
// is a sum over single tensors and pairs (held if needed and its kernel does not run again; a
// kernel that runs again needs its inputs), all of which like to be equal: a minimum cut finds the
// least (compare Picard, "Maximal closure of a graph", 1976; Everett, "Generalized Lagrange
// multiplier method", 1963). For any prices that least is a bound, and the choice a good one.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "plan/min_cut.h"
#include "plan/recompute_cost.h"

namespace choir {

// Seconds a byte, by moment: [0] is between the passes, [1 + j] backward node j.
using MemoryPrices = std::vector<double>;

// Actions that are decided already; empty: none.
using DecidedActions = std::vector<std::optional<RecomputeAction>>;

struct RelaxedChoice {
  double seconds = 0;          // at least as much does any choice with these decisions cost ...
  std::vector<int64_t> bytes;  // of this choice at each moment, as the relaxation sees it
  ClassActions actions;
};

class RecomputeRelaxation {
 public:
  // `model` outlives it.
  explicit RecomputeRelaxation(const RecomputeModel& model);

  size_t moments() const { return floor_bytes_.size(); }
  // The least of seconds + sum over moments of price * (bytes - budget): no choice within the
  // budget costs fewer seconds.
  RelaxedChoice Solve(const MemoryPrices& prices, int64_t budget,
                      const DecidedActions& decided = {}) const;
  // Seconds a byte for which all memory costs as much as all time: the scale of prices.
  double unit_price() const { return unit_price_; }

 private:
  struct Problem;
  // A group that no backward node reads is held until `kernel`, which reads it, runs again; if that
  // is early, the kernel's result is alive instead until node `until` reads it. So in any case
  // `bytes` are.
  struct Wait {
    int kernel = -1, until = 0;
    int64_t bytes = 0;
  };
  void FindWaits();
  void AddWaits(Problem& problem) const;
  std::vector<double> HoldCosts(const std::vector<double>& before) const;
  void AddClasses(Problem& problem) const;
  void AddKernels(Problem& problem) const;
  RelaxedChoice Read(const Problem& problem, const std::vector<bool>& values) const;

  const RecomputeModel& model_;
  std::vector<int64_t> floor_bytes_;  // by moment, whatever is chosen
  std::vector<bool> direct_;          // of a class: the backward pass reads all of its groups
  std::vector<bool> some_direct_;     // reads some
  std::vector<Wait> waits_;           // by group; kernel -1: none
  double scale_;                      // whole numbers of cuts, per second
  double unit_price_;
};

}  // namespace choir
