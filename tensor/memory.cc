#include "tensor/memory.h"

#include "base/check.h"
#include "tensor/block_cache.h"
#include "tensor/cuda_device.h"

namespace choir {

std::string_view Name(Device device) {
  switch (device) {
    case Device::kCpu:
      return "cpu";
    case Device::kMeta:
      return "meta";
    case Device::kCuda:
      return "cuda";
  }
  CHECK(false) << "device " << static_cast<int>(device);
  __builtin_unreachable();
}

std::string_view Name(MemoryCategory category) {
  static constexpr std::string_view kNames[kNumMemoryCategories] = {
      "parameters", "gradients", "optimizer", "activations", "workspace", "communication", "host"};
  return kNames[static_cast<size_t>(category)];
}

int64_t RoundedBytes(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

void MemoryLedger::Count::Add(int64_t bytes) {
  const int64_t now = current.fetch_add(bytes) + bytes;
  int64_t seen = peak.load();
  while (now > seen && !peak.compare_exchange_weak(seen, now)) {
  }
}

void MemoryLedger::Add(MemoryCategory category, int64_t bytes) {
  categories_[static_cast<size_t>(category)].Add(bytes);
  if (category != MemoryCategory::kHost) total_.Add(bytes);
}

void MemoryLedger::Remove(MemoryCategory category, int64_t bytes) {
  categories_[static_cast<size_t>(category)].current -= bytes;
  if (category != MemoryCategory::kHost) total_.current -= bytes;
}

int64_t MemoryLedger::Current(MemoryCategory category) const {
  return categories_[static_cast<size_t>(category)].current;
}

int64_t MemoryLedger::Peak(MemoryCategory category) const {
  return categories_[static_cast<size_t>(category)].peak;
}

void MemoryLedger::ResetPeak() {
  for (Count& count : categories_) count.peak = count.current.load();
  total_.peak = total_.current.load();
}

namespace {
thread_local std::array<MemoryLedger*, kNumDevices> scoped_ledgers{};
}  // namespace

MemoryLedger& CurrentLedger(Device device) {
  static auto& global = *new std::array<MemoryLedger, kNumDevices>;
  const auto i = static_cast<size_t>(device);
  return scoped_ledgers[i] != nullptr ? *scoped_ledgers[i] : global[i];
}

ScopedLedger::ScopedLedger(Device device, MemoryLedger& ledger)
    : device_(device), previous_(scoped_ledgers[static_cast<size_t>(device)]) {
  scoped_ledgers[static_cast<size_t>(device)] = &ledger;
}

ScopedLedger::~ScopedLedger() { scoped_ledgers[static_cast<size_t>(device_)] = previous_; }

Storage::Storage(int64_t bytes, Device device, MemoryCategory category)
    : bytes_(RoundedBytes(bytes)),
      device_(device),
      category_(category),
      ledger_(&CurrentLedger(device)) {
  CHECK(bytes >= 0);
  ledger_->Add(category, bytes_);
  if (bytes_ == 0 || device == Device::kMeta) return;
  if (device == Device::kCuda) {
    data_ = CudaAllocate(bytes_);
  } else {
    data_ = BlockCache::Global().Allocate(bytes_, &capacity_);
  }
}

Storage::~Storage() {
  ledger_->Remove(category_, bytes_);
  if (data_ == nullptr) return;
  if (device_ == Device::kCuda) {
    CudaFree(data_);
  } else {
    BlockCache::Global().Free(data_, capacity_);
  }
}

int64_t CachedBytes() { return BlockCache::Global().CachedBytes(); }
void ReleaseCachedBlocks() { BlockCache::Global().ReleaseAll(); }

}  // namespace choir
