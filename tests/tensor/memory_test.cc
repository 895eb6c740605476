#include "tensor/memory.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "tensor/block_cache.h"
#include "tensor/tensor.h"

namespace choir {
namespace {

constexpr MemoryCategory kActivations = MemoryCategory::kActivations;
constexpr MemoryCategory kWorkspace = MemoryCategory::kWorkspace;
constexpr MemoryCategory kParameters = MemoryCategory::kParameters;

Tensor Bytes(int64_t n, Device device, MemoryCategory category) {
  EXPECT_EQ(n % 4, 0);
  return Tensor::Empty({n / 4}, {DType::kF32, device, category});
}

// The same story on a device with memory and on one without.
class LedgerTest : public ::testing::TestWithParam<Device> {};
INSTANTIATE_TEST_SUITE_P(Devices, LedgerTest, ::testing::Values(Device::kCpu, Device::kMeta),
                         [](const auto& info) { return std::string(Name(info.param)); });

TEST_P(LedgerTest, CurrentAndPeakAreExactByCategory) {
  MemoryLedger ledger;
  const ScopedLedger scoped(GetParam(), ledger);
  const Tensor weights = Bytes(1024, GetParam(), kParameters);
  {
    const Tensor a = Bytes(4, GetParam(), kActivations);  // counts as a cache line
    EXPECT_EQ(ledger.Current(kActivations), 64);
    const Tensor b = Bytes(640, GetParam(), kActivations);
    EXPECT_EQ(ledger.Current(kActivations), 704);
    EXPECT_EQ(ledger.CurrentTotal(), 1728);
  }
  EXPECT_EQ(ledger.Current(kActivations), 0);
  EXPECT_EQ(ledger.Peak(kActivations), 704);
  {
    const Tensor c = Bytes(128, GetParam(), kWorkspace);
    EXPECT_EQ(ledger.Peak(kWorkspace), 128);
  }
  // The peaks were not at the same time.
  EXPECT_EQ(ledger.PeakTotal(), 1728);
  EXPECT_EQ(ledger.CurrentTotal(), 1024);
  ledger.ResetPeak();
  EXPECT_EQ(ledger.PeakTotal(), 1024);
  EXPECT_EQ(ledger.Peak(kActivations), 0);
  EXPECT_EQ(ledger.Peak(kParameters), 1024);
}

TEST_P(LedgerTest, ViewsCountOnceAndTheLastHolderFrees) {
  MemoryLedger ledger;
  const ScopedLedger scoped(GetParam(), ledger);
  Tensor view;
  {
    const Tensor t = Bytes(4096, GetParam(), kActivations);
    view = t.Rows(3, 1);
    EXPECT_EQ(ledger.Current(kActivations), 4096);
  }
  EXPECT_EQ(ledger.Current(kActivations), 4096);
  view = Tensor();
  EXPECT_EQ(ledger.Current(kActivations), 0);
}

TEST_P(LedgerTest, ScopesNestAndStorageRemembersItsLedger) {
  MemoryLedger outer, inner;
  Tensor kept;
  {
    const ScopedLedger a(GetParam(), outer);
    {
      const ScopedLedger b(GetParam(), inner);
      EXPECT_EQ(&CurrentLedger(GetParam()), &inner);
      kept = Bytes(256, GetParam(), kActivations);
    }
    EXPECT_EQ(&CurrentLedger(GetParam()), &outer);
    const Tensor t = Bytes(64, GetParam(), kActivations);
    EXPECT_EQ(outer.CurrentTotal(), 64);
  }
  EXPECT_EQ(inner.CurrentTotal(), 256);
  kept = Tensor();
  EXPECT_EQ(inner.CurrentTotal(), 0);
  EXPECT_EQ(outer.CurrentTotal(), 0);
  EXPECT_NE(&CurrentLedger(GetParam()), &outer);
}

TEST(Ledger, DevicesAreCountedApart) {
  MemoryLedger cpu, meta;
  const ScopedLedger a(Device::kCpu, cpu), b(Device::kMeta, meta);
  const Tensor t = Tensor::Empty({int64_t{1} << 40}, {DType::kF32, Device::kMeta});
  EXPECT_EQ(meta.CurrentTotal(), int64_t{1} << 42);
  EXPECT_EQ(cpu.CurrentTotal(), 0);
}

// Tensors are made and dropped by several threads in one ledger: no byte is lost, and the peak is
// at least one thread's and at most the sum of all.
TEST(LedgerThread, CountsFromManyThreadsAreExact) {
  constexpr int kThreads = 8, kRounds = 2000;
  MemoryLedger ledger;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&ledger, t] {
      const ScopedLedger scoped(Device::kCpu, ledger);
      const auto category = static_cast<MemoryCategory>(t % kNumMemoryCategories);
      for (int i = 0; i < kRounds; ++i) {
        const Tensor a = Bytes(64 * (1 + i % 7), Device::kCpu, category);
        a.data<float>()[0] = static_cast<float>(i);  // no other thread has this block
        const Tensor b = Bytes(64, Device::kCpu, category);
        b.data<float>()[0] = -1;
        ASSERT_EQ(a.data<float>()[0], static_cast<float>(i));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ledger.CurrentTotal(), 0);
  for (int c = 0; c < kNumMemoryCategories; ++c) {
    const auto category = static_cast<MemoryCategory>(c);
    const int users = (kThreads - c + kNumMemoryCategories - 1) / kNumMemoryCategories;
    EXPECT_EQ(ledger.Current(category), 0);
    EXPECT_GE(ledger.Peak(category), 8 * 64);
    EXPECT_LE(ledger.Peak(category), users * 8 * 64);
  }
  EXPECT_LE(ledger.PeakTotal(), kThreads * 8 * 64);
}

TEST(LedgerThread, AScopeIsOfItsThread) {
  MemoryLedger mine;
  const ScopedLedger scoped(Device::kCpu, mine);
  std::thread([&] { EXPECT_NE(&CurrentLedger(Device::kCpu), &mine); }).join();
}

TEST(BlockCache, ReusesBlocksOfAboutTheSameSize) {
  BlockCache cache;
  int64_t capacity = 0;
  void* const block = cache.Allocate(1000, &capacity);
  EXPECT_EQ(capacity, 1024);
  EXPECT_EQ(cache.CachedBytes(), 0);
  cache.Free(block, capacity);
  EXPECT_EQ(cache.CachedBytes(), 1024);
  // An eighth of waste is allowed, and the true size comes back.
  EXPECT_EQ(cache.Allocate(960, &capacity), block);
  EXPECT_EQ(capacity, 1024);
  EXPECT_EQ(cache.CachedBytes(), 0);
  cache.Free(block, capacity);
  // Larger than the block, or too small for it: a block of its own.
  int64_t other = 0;
  void* const large = cache.Allocate(1025, &other);
  EXPECT_EQ(other, 1088);
  void* const small = cache.Allocate(512, &capacity);
  EXPECT_EQ(capacity, 512);
  EXPECT_EQ(cache.CachedBytes(), 1024);
  cache.Free(large, other);
  cache.Free(small, capacity);
  EXPECT_EQ(cache.CachedBytes(), 1024 + 1088 + 512);
  // The smallest that fits.
  EXPECT_EQ(cache.Allocate(1024, &capacity), block);
  cache.Free(block, capacity);
  cache.ReleaseAll();
  EXPECT_EQ(cache.CachedBytes(), 0);
}

TEST(BlockCache, AlignsBySize) {
  BlockCache cache;
  for (const int64_t bytes : {1, 64, 4095, 4096, 100'000, 3 << 20}) {
    int64_t capacity = 0;
    void* const block = cache.Allocate(bytes, &capacity);
    EXPECT_GE(capacity, bytes);
    EXPECT_LT(capacity, bytes + kAlignment);
    const auto address = reinterpret_cast<uintptr_t>(block);
    EXPECT_EQ(address % static_cast<uintptr_t>(capacity >= kPageSize ? kPageSize : kAlignment), 0u);
    static_cast<char*>(block)[capacity - 1] = 1;
    cache.Free(block, capacity);
  }
  cache.ReleaseAll();
}

TEST(BlockCache, TensorsGoThroughTheProcessCache) {
  ReleaseCachedBlocks();
  EXPECT_EQ(CachedBytes(), 0);
  const void* data = nullptr;
  {
    const Tensor t = Bytes(1 << 20, Device::kCpu, kActivations);
    data = t.raw();
  }
  EXPECT_EQ(CachedBytes(), 1 << 20);
  const Tensor again = Bytes(1 << 20, Device::kCpu, kWorkspace);
  EXPECT_EQ(again.raw(), data);
  EXPECT_EQ(CachedBytes(), 0);
}

TEST(Memory, Names) {
  EXPECT_EQ(Name(Device::kCpu), "cpu");
  EXPECT_EQ(Name(Device::kMeta), "meta");
  EXPECT_EQ(Name(MemoryCategory::kParameters), "parameters");
  EXPECT_EQ(Name(MemoryCategory::kCommunication), "communication");
  EXPECT_EQ(RoundedBytes(0), 0);
  EXPECT_EQ(RoundedBytes(1), 64);
  EXPECT_EQ(RoundedBytes(64), 64);
  EXPECT_EQ(RoundedBytes(65), 128);
}

}  // namespace
}  // namespace choir
