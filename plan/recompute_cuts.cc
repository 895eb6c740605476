#include "plan/recompute_cuts.h"

#include <algorithm>

namespace choir {
namespace {

constexpr size_t kStrides = 4;
constexpr double kNarrow = 1.25;  // of the narrowest

// Groups that are made before each kernel and read by it or later ones.
std::vector<std::vector<int>> Crossings(const RecomputeModel& model) {
  std::vector<int> last(model.groups.size(), -1);
  for (size_t k = 0; k < model.kernels.size(); ++k) {
    for (int g : model.kernels[k].inputs) last[static_cast<size_t>(g)] = static_cast<int>(k);
  }
  std::vector<std::vector<int>> crossings(model.kernels.size());
  for (size_t g = 0; g < model.groups.size(); ++g) {
    for (int k = model.groups[g].kernel + 1; k <= last[g]; ++k) {
      crossings[static_cast<size_t>(k)].push_back(static_cast<int>(g));
    }
  }
  return crossings;
}

}  // namespace

std::vector<ClassActions> CheckpointChoices(const RecomputeModel& model) {
  const std::vector<std::vector<int>> crossings = Crossings(model);
  std::vector<int64_t> bytes;
  for (const std::vector<int>& groups : crossings) {
    int64_t sum = 0;
    for (int g : groups) sum += model.groups[static_cast<size_t>(g)].bytes;
    bytes.push_back(sum);
  }
  const size_t count = bytes.size();
  if (count < 4) return {};
  const int64_t least = *std::min_element(bytes.begin() + static_cast<int64_t>(count / 4),
                                          bytes.end() - static_cast<int64_t>(count / 4));
  std::vector<size_t> narrow;
  for (size_t k = 1; k < count; ++k) {
    if (static_cast<double>(bytes[k]) <= kNarrow * static_cast<double>(least)) narrow.push_back(k);
  }
  std::vector<ClassActions> choices;
  for (size_t stride = 1; stride <= std::min(kStrides, narrow.size()); ++stride) {
    for (size_t first = 0; first < stride; ++first) {
      ClassActions actions(model.classes.size(), RecomputeAction::kRecompute);
      for (size_t i = first; i < narrow.size(); i += stride) {
        for (int g : crossings[narrow[i]]) {
          const int c = model.groups[static_cast<size_t>(g)].group_class;
          if (c >= 0) actions[static_cast<size_t>(c)] = RecomputeAction::kKeep;
        }
      }
      choices.push_back(std::move(actions));
    }
  }
  return choices;
}

}  // namespace choir
