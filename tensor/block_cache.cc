#include "tensor/block_cache.h"

#include <sys/mman.h>

#include <cstdlib>

#include "base/check.h"
#include "tensor/memory.h"

namespace choir {
namespace {

constexpr int64_t kHugePage = 2 << 20;

void* AllocateFromSystem(int64_t bytes) {
  const int64_t alignment = bytes >= kHugePage   ? kHugePage
                            : bytes >= kPageSize ? kPageSize
                                                 : kAlignment;
  void* block = nullptr;
  const int error =
      posix_memalign(&block, static_cast<size_t>(alignment), static_cast<size_t>(bytes));
  if (error == 0 && bytes >= kHugePage) {
    madvise(block, static_cast<size_t>(bytes), MADV_HUGEPAGE);  // only advice: fewer page faults
  }
  return error == 0 ? block : nullptr;
}

}  // namespace

BlockCache& BlockCache::Global() {
  static BlockCache& cache = *new BlockCache;  // outlives every static tensor
  return cache;
}

void* BlockCache::Allocate(int64_t bytes, int64_t* capacity) {
  const int64_t wanted = RoundedBytes(bytes);
  {
    std::lock_guard lock(mutex_);
    // A little larger will do: an eighth of waste is cheaper than a fresh block.
    if (auto it = free_.lower_bound(wanted);
        it != free_.end() && it->first <= wanted + wanted / 8) {
      *capacity = it->first;
      void* block = it->second;
      cached_bytes_ -= it->first;
      free_.erase(it);
      return block;
    }
  }
  *capacity = wanted;
  void* block = AllocateFromSystem(wanted);
  if (block == nullptr) {
    ReleaseAll();
    block = AllocateFromSystem(wanted);
  }
  CHECK(block != nullptr) << "out of host memory allocating " << wanted << " bytes";
  return block;
}

void BlockCache::Free(void* block, int64_t capacity) {
  std::lock_guard lock(mutex_);
  free_.emplace(capacity, block);
  cached_bytes_ += capacity;
}

int64_t BlockCache::CachedBytes() {
  std::lock_guard lock(mutex_);
  return cached_bytes_;
}

void BlockCache::ReleaseAll() {
  std::lock_guard lock(mutex_);
  for (auto& [capacity, block] : free_) std::free(block);
  free_.clear();
  cached_bytes_ = 0;
}

}  // namespace choir
