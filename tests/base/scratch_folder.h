// A folder of this process's own. ctest runs the tests of one program side by side, so a fixed name
// would be shared.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "base/check.h"

namespace choir {

class ScratchFolder {
 public:
  ScratchFolder() : path_(::testing::TempDir() + "/choir-test-XXXXXX") {
    CHECK(mkdtemp(path_.data()) != nullptr) << path_;
    chmod(path_.c_str(), 0755);
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace choir
