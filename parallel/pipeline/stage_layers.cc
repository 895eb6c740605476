#include "parallel/pipeline/stage_layers.h"

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "base/strings.h"

namespace choir {
namespace {

std::string Join(const std::vector<int>& values) {
  std::string text = "[";
  for (size_t i = 0; i < values.size(); ++i) text += choir::StrCat(i ? ", " : "", values[i]);
  return text + "]";
}

absl::Status CheckNumbers(const StageSplit& split) {
  if (split.layers < 0 || split.stages < 1) {
    return absl::InvalidArgumentError(choir::StrCat("pipeline: ", split.layers, " layers over ",
                                                    split.stages,
                                                    " stages: at least 0 over 1 are needed"));
  }
  for (double cost : {split.embedding_cost, split.head_cost}) {
    if (!std::isfinite(cost) || cost < 0) {
      return absl::InvalidArgumentError(
          choir::StrCat("pipeline: embedding and head cost ", split.embedding_cost, " and ",
                        split.head_cost, " layers: must be finite and not negative"));
    }
  }
  return absl::OkStatus();
}

// Gives one layer after another to the cheapest stage, the later one of equals: no split of equal
// layers has a smaller maximum.
std::vector<int> BalancedCounts(const StageSplit& split) {
  const auto stages = static_cast<size_t>(split.stages);
  std::vector<int> counts(stages, 0);
  std::vector<double> costs(stages, 0);
  costs.front() += split.embedding_cost;
  costs.back() += split.head_cost;
  for (int layer = 0; layer < split.layers; ++layer) {
    size_t cheapest = 0;
    for (size_t s = 1; s < stages; ++s) {
      if (costs[s] <= costs[cheapest]) cheapest = s;
    }
    counts[cheapest] += 1;
    costs[cheapest] += 1;
  }
  return counts;
}

absl::Status CheckList(const StageSplit& split) {
  if (split.counts.size() != static_cast<size_t>(split.stages)) {
    return absl::InvalidArgumentError(
        choir::StrCat("pipeline: the list of layers ", Join(split.counts), " has ",
                      split.counts.size(), " entries for ", split.stages, " stages"));
  }
  int64_t sum = 0;
  for (int count : split.counts) {
    if (count < 0) {
      return absl::InvalidArgumentError(
          choir::StrCat("pipeline: ", count, " layers in the list ", Join(split.counts)));
    }
    sum += count;
  }
  if (sum != split.layers) {
    return absl::InvalidArgumentError(choir::StrCat("pipeline: the list of layers ",
                                                    Join(split.counts), " adds up to ", sum,
                                                    ", the model has ", split.layers));
  }
  return absl::OkStatus();
}

absl::Status CheckNoneEmpty(const StageSplit& split, const std::vector<int>& counts) {
  const bool listed = !split.counts.empty();
  for (size_t s = 0; s < counts.size() && counts.size() > 1; ++s) {
    const bool first = s == 0, last = s + 1 == counts.size();
    const bool has_other = (first && (listed || split.embedding_cost > 0)) ||
                           (last && (listed || split.head_cost > 0));
    if (counts[s] == 0 && !has_other) {
      return absl::InvalidArgumentError(
          choir::StrCat("pipeline: stage ", s, " of ", split.stages, " would have none of the ",
                        split.layers, " layers ", Join(counts), ": take fewer stages"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<StageLayers>> SplitLayers(const StageSplit& split) {
  RETURN_IF_ERROR(CheckNumbers(split));
  if (!split.counts.empty()) RETURN_IF_ERROR(CheckList(split));
  const std::vector<int> counts = split.counts.empty() ? BalancedCounts(split) : split.counts;
  RETURN_IF_ERROR(CheckNoneEmpty(split, counts));
  std::vector<StageLayers> stages;
  int begin = 0;
  for (int count : counts) {
    stages.push_back({begin, begin + count, false, false});
    begin += count;
  }
  stages.front().embedding = true;
  stages.back().head = true;
  return stages;
}

}  // namespace choir
