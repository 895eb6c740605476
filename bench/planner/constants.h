// The fitted constants as a file: frozen, so that a later prediction cannot be tuned in silence.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "bench/planner/fit.h"

namespace choir::planner {

// By machine and software ("h100 llm-foundry").
struct FrozenConstants {
  std::map<std::string, Values> systems;

  // Those of a system; what is usual where it has none: no row taught it.
  Values Of(const std::string& system) const;
};

// JSON, one line a system, four significant digits; `hash` is of the file's bytes.
absl::Status SaveConstants(const FrozenConstants& frozen, const std::string& path);
struct LoadedConstants {
  FrozenConstants frozen;
  std::string hash;  // XXH3-128
};
absl::StatusOr<LoadedConstants> LoadConstants(const std::string& path);

}  // namespace choir::planner
