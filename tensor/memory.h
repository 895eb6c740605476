// Every byte that a tensor owns is counted by category, so that "will it fit?" has an exact answer.
// A ledger counts rounded sizes (kAlignment) and is the same on cpu and meta.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>

#include "tensor/device.h"

namespace choir {

enum class MemoryCategory : uint8_t {
  kParameters,
  kGradients,
  kOptimizer,
  kActivations,
  kWorkspace,
  kCommunication,
  kHost  // results that wait in host memory: not a part of the device's total
};
inline constexpr int kNumMemoryCategories = 7;
std::string_view Name(MemoryCategory category);

// Small blocks start at a cache line, blocks of a page or more at a page.
inline constexpr int64_t kAlignment = 64;
inline constexpr int64_t kPageSize = 4096;
// `bytes` rounded up to kAlignment; what the ledger counts.
int64_t RoundedBytes(int64_t bytes);

// Current and peak bytes by category, and of their sum without kHost. Thread-safe.
class MemoryLedger {
 public:
  void Add(MemoryCategory category, int64_t bytes);
  void Remove(MemoryCategory category, int64_t bytes);
  int64_t Current(MemoryCategory category) const;
  int64_t Peak(MemoryCategory category) const;
  int64_t CurrentTotal() const { return total_.current; }
  // Peak of the sum: not the sum of the peaks.
  int64_t PeakTotal() const { return total_.peak; }
  // Starts a new peak at the current bytes.
  void ResetPeak();

 private:
  struct Count {
    std::atomic<int64_t> current = 0, peak = 0;
    void Add(int64_t bytes);
  };
  std::array<Count, kNumMemoryCategories> categories_;
  Count total_;
};

// The ledger that new storage of `device` on this thread is counted in: the process' own, or that
// of the innermost ScopedLedger.
MemoryLedger& CurrentLedger(Device device);

// Counts this thread's allocations on `device` in `ledger`, which must outlive every storage made
// meanwhile.
class ScopedLedger {
 public:
  ScopedLedger(Device device, MemoryLedger& ledger);
  ~ScopedLedger();
  ScopedLedger(const ScopedLedger&) = delete;

 private:
  Device device_;
  MemoryLedger* previous_;
};

// Owned bytes of one device. Uninitialised; `data()` is null on meta and for zero bytes.
// Freed CPU blocks are cached and reused, because returning large blocks to the system costs a
// page fault per 4 KiB at every step.
class Storage {
 public:
  Storage(int64_t bytes, Device device, MemoryCategory category);
  ~Storage();
  Storage(const Storage&) = delete;

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  MemoryCategory category() const { return category_; }

 private:
  void* data_ = nullptr;
  int64_t bytes_;
  int64_t capacity_ = 0;  // of the cached block
  Device device_;
  MemoryCategory category_;
  MemoryLedger* ledger_;
};

// Bytes held by the CPU block cache, and a way to give them back to the system.
int64_t CachedBytes();
void ReleaseCachedBlocks();

}  // namespace choir
