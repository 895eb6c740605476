#include "train/overrides.h"

#include <algorithm>

namespace choir {
namespace {

constexpr const char* kNumerics = "--numerics=";
constexpr const char* kParallel = "--parallel=";

}  // namespace

bool IsOverride(const std::string& argument) {
  if (argument.rfind("--", 0) != 0) return false;
  // A key outside of a section, and a section that may be one word.
  if (argument.starts_with(kNumerics) || argument.starts_with(kParallel)) return true;
  const std::string path = argument.substr(2, argument.find('=') - 2);
  return path.find('.') != std::string::npos && path.find(' ') == std::string::npos;
}

bool GivesNumerics(const std::vector<Override>& overrides) {
  return std::any_of(overrides.begin(), overrides.end(),
                     [](const Override& o) { return o.argument.starts_with(kNumerics); });
}

}  // namespace choir
