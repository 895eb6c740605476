// `--section.key=value` arguments: taken out of the command line before it is parsed, and checked
// with the config.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/config.h"
#include "base/status.h"

namespace choir {

struct Override {
  std::string argument;  // as written
  int number = 0;        // its position on the command line, from 1
};

// Whether an argument names a config key: `--`, then a path with a dot before any '='; or
// `--numerics=`, `--parallel=`.
bool IsOverride(const std::string& argument);

// Whether `--numerics=` is among them.
bool GivesNumerics(const std::vector<Override>& overrides);

// A config file with overrides applied; all errors at once.
template <class T>
absl::StatusOr<T> LoadConfigWith(const std::string& path, const std::vector<Override>& overrides,
                                 ConfigLoadOptions options = {}) {
  ASSIGN_OR_RETURN(ConfigTree tree, ConfigTree::ParseFile(path));
  for (const Override& o : overrides) tree.Override(o.argument, o.number);
  return LoadConfig<T>(tree, options);
}

}  // namespace choir
