// What the rules that look at whole matrices (muon.h, factored.h) share.
#pragma once

#include <span>

#include "base/random.h"
#include "ops/parallel_for.h"
#include "optim/matrix_unit.h"
#include "optim/target.h"
#include "optim/update_rule.h"

namespace choir {

// A target of one step. The referred outlive the step.
struct MatrixTarget {
  const OptimTarget* target = nullptr;
  const MatrixUnit* unit = nullptr;
  const RunGrid* grid = nullptr;
  const StoredValue* value = nullptr;
  const Moment* m = nullptr;  // muon
  Tensor factors;             // factored: FactoredShape, flat
  RuleStep rule;
  CounterRandom m_noise, value_noise;
  bool stochastic_value = true;
};

// Runs of the shard on all threads; body(run).
template <class Body>
void ForEachElementRun(const RunGrid& grid, const Body& body) {
  const int64_t n = grid.size(), grain = grid.Grain(4 * kElementGrain);
  ParallelRanges(n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end;) {
      const ElementRun run = grid.At(i, end);
      body(run);
      i += run.count;
    }
  });
}

// w = (1 - lr decay) w - step u, for a direction `u` of the shard's elements, flat.
template <class T>
void ApplyDirection(const MatrixTarget& target, const T* u, double step);

// Targets one after another in rounds of about as many elements: matrices of a round are in memory
// twice. How targets are shared out changes no bit.
inline constexpr int64_t kRoundElements = int64_t{1} << 25;

}  // namespace choir
