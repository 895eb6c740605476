// PyTorch's side of a bench: where it is. And the median, which every bench quotes.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/check.h"
#include "base/strings.h"

namespace choir {

struct Peer {
  std::string python, script;
  bool present = false;
};

// bench/<script>, in the repository, which is above this program or above the current folder; its
// python is that of scripts/reference_env or $CHOIR_REFERENCE_PYTHON.
inline absl::StatusOr<Peer> FindPeer(const std::string& name) {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  for (auto from : {program, std::filesystem::current_path(error) / "x"}) {
    while (from.has_relative_path()) {
      from = from.parent_path();
      const auto script = from / "bench" / name;
      if (!std::filesystem::exists(script, error)) continue;
      const char* const chosen = std::getenv("CHOIR_REFERENCE_PYTHON");
      const std::string python =
          chosen != nullptr ? chosen : (from / ".cache/reference_env/bin/python").string();
      return Peer{python, script.string(), access(python.c_str(), X_OK) == 0};
    }
  }
  return absl::NotFoundError(StrCat("bench/", name,
                                    ": not found above this program nor above the current folder; "
                                    "run the bench inside the repository"));
}

inline double Median(std::vector<double> values) {
  CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace choir
