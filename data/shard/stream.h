// A stream: the documents that a mixture gives one share to. Of one language, and with
// mixture.by_source also of one source.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace choir {

inline constexpr int32_t kAllSources = -1;

struct DocumentStream {
  int32_t language = 0;
  int32_t source = kAllSources;
  std::string name;       // "de" or "de/handbook"
  int64_t documents = 0;  // of the training split
  int64_t labels = 0;     // of them; on raw text: bytes
};

}  // namespace choir
