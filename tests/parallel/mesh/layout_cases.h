// Layouts of jobs for tests that walk every rank.
#pragma once

#include <vector>

#include "parallel/mesh/mesh.h"

namespace choir {

// Every way to write `n` as a product of `parts` positive factors, in order.
inline std::vector<std::vector<int>> Factorisations(int n, int parts) {
  if (parts == 1) return {{n}};
  std::vector<std::vector<int>> all;
  for (int first = 1; first <= n; ++first) {
    if (n % first != 0) continue;
    for (std::vector<int> rest : Factorisations(n / first, parts - 1)) {
      rest.insert(rest.begin(), first);
      all.push_back(std::move(rest));
    }
  }
  return all;
}

// Every layout of `world` ranks, in both grids.
inline std::vector<Degrees> AllDegrees(int world) {
  std::vector<Degrees> all;
  for (const auto& dense : Factorisations(world, 5)) {
    for (const auto& experts : Factorisations(world / dense[0], 3)) {
      all.push_back({.pipe = dense[0],
                     .replica = dense[1],
                     .shard = dense[2],
                     .context = dense[3],
                     .tensor = dense[4],
                     .expert = experts[1],
                     .expert_tensor = experts[2]});
    }
  }
  return all;
}

// A spread of layouts of large and of odd sizes.
inline std::vector<Degrees> LargeDegrees() {
  return {
      {.pipe = 4, .replica = 4, .shard = 4, .context = 4, .tensor = 16, .expert = 64},
      {.pipe = 16, .replica = 2, .shard = 64, .context = 1, .tensor = 2, .expert = 256},
      {.pipe = 1, .replica = 1, .shard = 4096, .expert = 8, .expert_tensor = 4},
      {.pipe = 4096},
      {.pipe = 3, .replica = 5, .shard = 7, .context = 3, .tensor = 5, .expert = 35},
      {.pipe = 2, .replica = 3, .shard = 2, .context = 9, .tensor = 8, .expert = 27},
      {.pipe = 1, .replica = 1021, .tensor = 2, .expert = 2, .expert_tensor = 1021},
  };
}

// Every set of axes of one grid, the empty one too.
inline std::vector<AxisSet> AllAxisSets() {
  std::vector<AxisSet> all;
  for (int bits = 0; bits < 1 << kNumAxes; ++bits) {
    AxisSet set;
    for (int i = 0; i < kNumAxes; ++i) {
      if ((bits >> i & 1) != 0) set = set | static_cast<Axis>(i);
    }
    if ((set - kDenseAxes).empty() || (set - kExpertAxes).empty()) all.push_back(set);
  }
  return all;
}

}  // namespace choir
