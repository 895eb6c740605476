#include "base/config_dump.h"

#include <algorithm>
#include <map>

namespace choir {

std::vector<ConfigDifference> DiffEntries(
    const std::vector<std::pair<std::string, std::string>>& a,
    const std::vector<std::pair<std::string, std::string>>& b) {
  const std::map<std::string, std::string> in_a(a.begin(), a.end());
  const std::map<std::string, std::string> in_b(b.begin(), b.end());
  const std::string unset = "(not set)";
  std::vector<ConfigDifference> differences;
  for (const auto& [key, value] : a) {
    const auto other = in_b.find(key);
    if (other == in_b.end()) {
      differences.push_back({key, value, unset});
    } else if (other->second != value) {
      differences.push_back({key, value, other->second});
    }
  }
  for (const auto& [key, value] : b) {
    if (!in_a.contains(key)) differences.push_back({key, unset, value});
  }
  return differences;
}

}  // namespace choir
