// The fitted constants as a file: frozen, so that a later prediction cannot be tuned in silence.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "base/config.h"
#include "bench/planner/fit.h"

namespace choir::planner {

struct SystemConstants {
  std::string system;     // machine and software, or a machine: of all its software
  int rows = 0;           // that they were fitted to
  std::map<std::string, double> values;
  void Visit(auto&& v) {
    v("system", system, "machine and software");
    v("rows", rows, "that they were fitted to");
    v("values", values, "by name of the constant");
  }
};

struct FrozenConstants {
  std::vector<SystemConstants> systems;
  void Visit(auto&& v) { v("systems", systems, "constants of each machine and software"); }

  void Add(const std::string& system, int rows, const Values& values);
  // Those of a system, or what is usual where the file has none.
  Values Of(const std::string& system) const;
};

}  // namespace choir::planner
