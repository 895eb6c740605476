#include "base/config_paths.h"

#include <algorithm>

#include "absl/strings/str_split.h"

namespace choir {
namespace {

// How different a name may be and still be meant: a third of its letters.
int Tolerance(std::string_view name) { return std::max<int>(1, static_cast<int>(name.size()) / 3); }

bool IsNear(std::string_view a, std::string_view b, int distance) {
  return distance <= Tolerance(a) && distance < static_cast<int>(std::min(a.size(), b.size()));
}

std::vector<std::string> Parts(std::string_view path) {
  return absl::StrSplit(absl::string_view(path.data(), path.size()), '.');
}

}  // namespace

int EditDistance(std::string_view a, std::string_view b) {
  std::vector<int> two_above(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    two_above.swap(above);
    above.swap(row);
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int replaced = above[j - 1] + (a[i - 1] != b[j - 1]);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], two_above[j - 2] + 1);
      }
    }
  }
  return row[b.size()];
}

std::string NearestName(std::string_view name, const std::vector<std::string>& names) {
  std::string nearest;
  int least = static_cast<int>(name.size()) + 1;
  for (const std::string& candidate : names) {
    const int distance = EditDistance(name, candidate);
    if (distance < least && IsNear(name, candidate, distance)) {
      nearest = candidate;
      least = distance;
    }
  }
  return nearest;
}

std::string NearestPath(std::string_view path, const std::vector<std::string>& paths) {
  const std::vector<std::string> parts = Parts(path);
  std::string nearest, moved;
  int least = static_cast<int>(path.size()) + 1, least_moved = 1 << 30;
  for (const std::string& candidate : paths) {
    const std::vector<std::string> other = Parts(candidate);
    if (other.back() == parts.back()) {
      const int distance = EditDistance(path, candidate);
      if (distance < least_moved) moved = candidate;
      least_moved = std::min(least_moved, distance);
    }
    if (other.size() != parts.size()) continue;
    int total = 0;
    bool near = true;
    for (size_t i = 0; i < parts.size(); ++i) {
      const int distance = EditDistance(parts[i], other[i]);
      near = near && (distance == 0 || IsNear(parts[i], other[i], distance));
      total += distance;
    }
    if (near && total < least) {
      nearest = candidate;
      least = total;
    }
  }
  return nearest.empty() ? moved : nearest;
}

}  // namespace choir
