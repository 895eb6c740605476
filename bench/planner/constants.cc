#include "bench/planner/constants.h"

#include "base/check.h"

namespace choir::planner {

void FrozenConstants::Add(const std::string& system, int rows, const Values& values) {
  SystemConstants entry{.system = system, .rows = rows};
  for (size_t i = 0; i < values.size(); ++i) entry.values[Constants()[i].name] = values[i];
  systems.push_back(std::move(entry));
}

Values FrozenConstants::Of(const std::string& system) const {
  for (const SystemConstants& entry : systems) {
    if (entry.system != system) continue;
    Values values;
    for (const Constant& constant : Constants()) {
      const auto found = entry.values.find(constant.name);
      CHECK(found != entry.values.end()) << system << " has no " << constant.name;
      values.push_back(found->second);
    }
    return values;
  }
  return UsualValues();
}

}  // namespace choir::planner
