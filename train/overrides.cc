#include "train/overrides.h"

namespace choir {

bool IsOverride(const std::string& argument) {
  if (argument.rfind("--", 0) != 0) return false;
  if (argument.rfind("--numerics=", 0) == 0) return true;  // the one key outside of a section
  const std::string path = argument.substr(2, argument.find('=') - 2);
  return path.find('.') != std::string::npos && path.find(' ') == std::string::npos;
}

}  // namespace choir
