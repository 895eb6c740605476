// The dotted paths of a config's keys, and which of them a mistyped one may have meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/config_field.h"

namespace choir {

inline std::string JoinPath(const std::string& section, const std::string& name) {
  return section.empty() ? name : section + "." + name;
}

// How many characters must be inserted, removed, replaced or swapped with their neighbour to turn
// one text into the other (optimal string alignment).
int EditDistance(std::string_view a, std::string_view b);

// The name most like `name`, or empty if none is near enough to be meant.
std::string NearestName(std::string_view name, const std::vector<std::string>& names);

// The path that a mistyped dotted path may have meant: one that is near it in every part, or the
// one that ends in the same key but lies elsewhere; or empty.
std::string NearestPath(std::string_view path, const std::vector<std::string>& paths);

namespace internal {

class PathCollector {
 public:
  PathCollector(std::string section, std::vector<std::string>& paths)
      : section_(std::move(section)), paths_(paths) {}
  template <class T>
  void operator()(const char* name, T& field, auto&&...) {
    paths_.push_back(JoinPath(section_, name));
    if constexpr (ConfigSection<T>) field.Visit(PathCollector(paths_.back(), paths_));
  }

 private:
  const std::string section_;
  std::vector<std::string>& paths_;
};

}  // namespace internal

// All keys of a config, sections first (not those inside lists of sections).
template <ConfigSection T>
std::vector<std::string> ConfigPaths() {
  std::vector<std::string> paths;
  T().Visit(internal::PathCollector("", paths));
  return paths;
}

}  // namespace choir
