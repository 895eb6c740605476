#include "optim/matrix_plan.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/strings.h"
#include "ops/numerics.h"
#include "optim/matrix_unit.h"
#include "optim/newton_schulz.h"

namespace choir {
namespace {

// Of updating the parameter's matrices, all of them or those of one expert.
double WorkOf(const OptimConfig& config, const PlannedParameter& p, OptimKind kind) {
  if (kind != OptimKind::kMuon) return static_cast<double>(p.placement.shape.NumElements());
  double work = 0;
  for (const MatrixFamily& family : p.matrices->families) {
    const MatrixShape shape = ShapeOf(family, p.placement.shape, config.muon.per_head);
    work +=
        static_cast<double>(shape.batch) *
        NewtonSchulzFlops(shape.rows, shape.columns, config.muon.steps + config.muon.final_steps);
  }
  return work;
}

struct Loads {
  std::vector<double> work, elements;
  explicit Loads(int shards)
      : work(static_cast<size_t>(shards)), elements(static_cast<size_t>(shards)) {}
};

double LargestOverMean(const std::vector<double>& loads) {
  const double sum = std::accumulate(loads.begin(), loads.end(), 0.0);
  if (sum == 0) return 1;
  return *std::max_element(loads.begin(), loads.end()) * static_cast<double>(loads.size()) / sum;
}

struct Item {
  size_t index;
  double work;
};

}  // namespace

MatrixPlan PlanMatrices(const OptimConfig& config, std::span<const PlannedParameter> parameters,
                        const Mesh& mesh) {
  MatrixPlan plan;
  // By pipeline rank: one knapsack, and the sums for experts.
  std::map<int, std::vector<Item>> dense;
  std::map<std::pair<int, bool>, Loads> loads;
  const auto loads_of = [&](const PlannedParameter& p) -> Loads& {
    const int shards = mesh.Size(p.placement.ZeroAxes());
    return loads.try_emplace({p.pipe, p.placement.OfExperts()}, shards).first->second;
  };
  for (size_t i = 0; i < parameters.size(); ++i) {
    const PlannedParameter& p = parameters[i];
    plan.cuts.push_back(p.placement.cut);
    const OptimKind kind = SettingsOf(config, p.name, FormOf(p.placement.shape, *p.matrices)).kind;
    if (!NeedsWholeMatrices(kind)) continue;
    const double work = WorkOf(config, p, kind);
    if (!SplitsByFirstDim(*p.matrices)) {
      dense[p.pipe].push_back({i, work});
      continue;
    }
    plan.cuts[i] = ShardCut::Rows(1);
    Loads& of = loads_of(p);
    const auto shards = static_cast<int64_t>(of.work.size());
    const int64_t experts = p.placement.shape.dim(0);
    const int64_t local = experts / std::max(1, mesh.Size(p.placement.layout.split[0]));
    for (int64_t s = 0; s < shards; ++s) {
      const double share =
          static_cast<double>(PieceBegin(local, shards, s + 1) - PieceBegin(local, shards, s)) /
          static_cast<double>(experts);
      of.work[static_cast<size_t>(s)] += share * work;
      of.elements[static_cast<size_t>(s)] +=
          share * static_cast<double>(p.placement.shape.NumElements());
    }
  }
  for (auto& [pipe, items] : dense) {
    std::stable_sort(items.begin(), items.end(),
                     [](const Item& a, const Item& b) { return a.work > b.work; });
    for (const Item& item : items) {
      const PlannedParameter& p = parameters[item.index];
      Loads& of = loads_of(p);
      const auto least = std::min_element(of.work.begin(), of.work.end()) - of.work.begin();
      plan.cuts[item.index] = ShardCut::Owner(static_cast<int>(least));
      of.work[static_cast<size_t>(least)] += item.work;
      of.elements[static_cast<size_t>(least)] +=
          static_cast<double>(p.placement.shape.NumElements());
    }
  }
  for (const auto& [where, of] : loads) {
    if (of.work.size() < 2) continue;
    const Placement& any = std::find_if(parameters.begin(), parameters.end(), [&](const auto& p) {
                             return p.placement.OfExperts() == where.second;
                           })->placement;
    plan.balance.push_back({where.first, any.ZeroAxes(), static_cast<int>(of.work.size()),
                            LargestOverMean(of.work), LargestOverMean(of.elements)});
  }
  return plan;
}

std::string Describe(const MatrixPlan& plan) {
  std::string text;
  for (const ShardBalance& b : plan.balance) {
    text += StrCat("matrices of pipeline rank ", b.pipe, " over ", b.axes.ToString(), " (",
                   b.shards, "): the largest shard has ", b.work, " of the mean work, ", b.elements,
                   " of the mean elements\n");
  }
  return text;
}

}  // namespace choir
