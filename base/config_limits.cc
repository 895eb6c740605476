#include "base/config_limits.h"

#include <sys/stat.h>

#include <cerrno>
#include <system_error>

namespace choir {

std::string MustExist::Violation(const std::string& path) const {
  struct stat info;
  if (path.empty() || stat(path.c_str(), &info) == 0) return {};
  const int error = errno;
  if (error == ENOENT) return "names '" + path + "', which does not exist";
  return "names '" + path +
         "', which cannot be examined: " + std::generic_category().message(error);
}

}  // namespace choir
