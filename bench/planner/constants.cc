#include "bench/planner/constants.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/strings.h"
#include "nlohmann/json.hpp"

namespace choir::planner {

Values FrozenConstants::Of(const std::string& system) const {
  const auto found = systems.find(system);
  return found != systems.end() ? found->second : UsualValues();
}

absl::Status SaveConstants(const FrozenConstants& frozen, const std::string& path) {
  std::string text = "{\n";
  for (const auto& [system, values] : frozen.systems) {
    text += absl::StrFormat("%s\"%s\": {", text.size() > 2 ? ",\n" : "", system);
    for (size_t i = 0; i < values.size(); ++i) {
      text += absl::StrFormat("%s\"%s\": %.4g", i > 0 ? ", " : "", Constants()[i].name, values[i]);
    }
    text += "}";
  }
  return WriteFileAtomic(path, text + "\n}\n");
}

absl::StatusOr<LoadedConstants> LoadConstants(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) {
    return absl::InvalidArgumentError(choir::StrCat(path, ": not a JSON object"));
  }
  LoadedConstants loaded{.hash = ToHex(HashOf128(text))};
  for (const auto& [system, entries] : json.items()) {
    Values values;
    for (const Constant& constant : Constants()) {
      const auto found = entries.find(constant.name);
      if (found == entries.end() || !found->is_number()) {
        return absl::InvalidArgumentError(
            choir::StrCat(path, ": '", system, "' has no number ", constant.name));
      }
      values.push_back(found->get<double>());
    }
    loaded.frozen.systems[system] = std::move(values);
  }
  return loaded;
}

}  // namespace choir::planner
