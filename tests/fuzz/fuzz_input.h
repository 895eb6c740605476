// What the targets of tests/fuzz share. A target defines
//
//   extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
//
// which feeds any bytes to a reader. It returns 0; whatever is wrong with the bytes must come back
// as an error Status. A crash, a leak, a failed CHECK, an exception or a hang is a finding.
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/check.h"

namespace choir {

inline std::string_view FuzzBytes(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// A folder of this process, in memory where the machine has such a place (thousands of small files
// a second); removed when the process ends in good order.
inline const std::string& FuzzFolder() {
  struct Folder {
    Folder() {
      std::error_code ignored;
      path = std::filesystem::exists("/dev/shm", ignored)
                 ? "/dev/shm"
                 : std::filesystem::temp_directory_path().string();
      path += "/choir-fuzz-XXXXXX";
      CHECK(mkdtemp(path.data()) != nullptr) << path;
    }
    ~Folder() {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
    std::string path;
  };
  static const Folder folder;
  return folder.path;
}

// Writes a file of FuzzFolder() and returns its path. Not flushed: it need not outlive a crash.
inline std::string WriteFuzzFile(const std::string& name, std::string_view bytes) {
  const std::string path = FuzzFolder() + "/" + name;
  std::FILE* const file = std::fopen(path.c_str(), "wb");
  CHECK(file != nullptr) << path;
  CHECK(bytes.empty() || std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size()) << path;
  CHECK(std::fclose(file) == 0) << path;
  return path;
}

// The target.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

}  // namespace choir
