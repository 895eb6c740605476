// What the two builds (tokenizer, shards) share.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "base/hash.h"
#include "data/text/list_files.h"

namespace choir {

// Adds split, language and content of a file.
absl::Status HashTextFile(const TextFile& file, Hasher128& hasher);

// Counts malformed records up to a limit, if there is one.
class MalformedCounter {
 public:
  explicit MalformedCounter(std::optional<int64_t> limit) : limit_(limit) {}
  // Passes on any error but InvalidArgument, and that too once there are more than the limit.
  absl::Status Add(const absl::Status& error);
  int64_t count() const { return count_; }

 private:
  std::optional<int64_t> limit_;
  int64_t count_ = 0;
};

}  // namespace choir
