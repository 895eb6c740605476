#include "train/overrides.h"

namespace choir {

bool IsOverride(const std::string& argument) {
  if (argument.rfind("--", 0) != 0) return false;
  const std::string path = argument.substr(2, argument.find('=') - 2);
  return path.find('.') != std::string::npos && path.find(' ') == std::string::npos;
}

}  // namespace choir
