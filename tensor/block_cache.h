// Freed CPU blocks, kept for the next allocation of about the same size. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

namespace choir {

class BlockCache {
 public:
  static BlockCache& Global();

  // A block of at least `bytes` (rounded as RoundedBytes); `*capacity` gets its true size.
  void* Allocate(int64_t bytes, int64_t* capacity);
  void Free(void* block, int64_t capacity);
  int64_t CachedBytes();
  void ReleaseAll();

 private:
  std::mutex mutex_;
  std::multimap<int64_t, void*> free_;
  int64_t cached_bytes_ = 0;
};

}  // namespace choir
