// Storage, copies and order on the compute stream.
#include <cstring>
#include <vector>

#include "tensor/cuda_device.h"
#include "tests/cuda/device_arrays.h"

namespace choir {
namespace {

void ExpectSameBytes(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.shape(), b.shape());
  ASSERT_EQ(a.dtype(), b.dtype());
  EXPECT_EQ(std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())), 0) << a.shape();
}

TEST(CudaBuild, SaysThatItIsOne) {
  EXPECT_TRUE(CudaBuilt());
  EXPECT_GE(CudaDeviceCount(), 0);
}

// With a GPU it is too small for this, without one there is none: both end with line and call.
TEST(CudaBuildDeathTest, FailedAllocationNamesLineAndCall) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  if (CudaDeviceCount() == 0) {
    EXPECT_DEATH(CudaAllocate(64), "cuda_device.cu:[0-9]+: .*cudaGet.*: cudaError");
  } else {
    EXPECT_DEATH(CudaAllocate(int64_t{1} << 50),
                 "cuda_device.cu:[0-9]+: .*cudaMallocAsync of 1125899906842624 bytes");
  }
}

TEST_F(CudaTest, CopiesThereAndBackKeepEveryByte) {
  for (int64_t n : {1, 3, 64, 1000, 65537, 3 << 20}) {
    const Tensor x = RandomTensor({n}, "copy");
    const Tensor there = OnCuda(x);
    EXPECT_EQ(there.device(), Device::kCuda);
    const Tensor clone = there.Clone();
    EXPECT_EQ(clone.device(), Device::kCuda);
    EXPECT_FALSE(clone.SharesStorageWith(there));
    there.Zero();
    ExpectSameBytes(OnCpu(clone), x);
    ExpectSameBytes(OnCpu(there), Tensor::Zeros({n}, {}));
  }
}

TEST_F(CudaTest, CopiesOtherDtypes) {
  const std::vector<int32_t> integers = {7, -1, 1 << 30, 0, 5};
  const Tensor i = Tensor::From<int32_t>({5}, integers);
  ExpectSameBytes(OnCpu(OnCuda(i)), i);
  const Tensor wide = Widened(RandomTensor({3, 5}, "wide"));
  ExpectSameBytes(OnCpu(OnCuda(wide).Clone()), wide);
  Tensor narrow = Tensor::Empty({3, 5}, {DType::kBF16});
  ConvertInto(narrow, wide);
  ExpectSameBytes(OnCpu(OnCuda(narrow).Clone()), narrow);
}

TEST_F(CudaTest, EmptyTensorsHaveNoMemory) {
  const Tensor x = Tensor::Zeros({0, 4}, {DType::kF32, Device::kCuda});
  EXPECT_EQ(x.raw(), nullptr);
  EXPECT_EQ(OnCpu(x.Clone()).NumElements(), 0);
}

TEST_F(CudaTest, ViewsTouchOnlyTheirRows) {
  const Tensor x = RandomTensor({6, 5}, "rows"), patch = RandomTensor({2, 5}, "patch");
  const Tensor there = OnCuda(x);
  there.Rows(1, 1).Zero();
  there.Rows(3, 2).CopyFrom(patch);             // from the CPU
  there.Rows(5, 1).CopyFrom(there.Rows(0, 1));  // on the GPU
  x.Rows(1, 1).Zero();
  x.Rows(3, 2).CopyFrom(patch);
  x.Rows(5, 1).CopyFrom(x.Rows(0, 1));
  ExpectSameBytes(OnCpu(there), x);
  ExpectSameBytes(OnCpu(there.Rows(2, 3).Clone()), x.Rows(2, 3).Clone());
}

// Work that was issued before a block is freed still sees its own values, although the block is
// handed out again at once.
TEST_F(CudaTest, FreedBlocksAreReusedInStreamOrder) {
  constexpr int64_t kElements = 1 << 20;
  const Tensor one = Tensor::Empty({kElements}, {});
  for (float& x : one.span<float>()) x = 1;
  const Tensor source = OnCuda(one);
  const Tensor sum = Tensor::Zeros({kElements}, source.options());
  constexpr int kRounds = 50;
  for (int i = 0; i < kRounds; ++i) {
    const Tensor copy = source.Clone();
    AddInto(sum, copy);
    copy.Zero();
  }
  for (float x : OnCpu(sum).span<float>()) ASSERT_EQ(x, float{kRounds});
}

TEST_F(CudaTest, LedgerCountsEveryByteAsOnMeta) {
  MemoryLedger cuda, meta;
  ScopedLedger cuda_scope(Device::kCuda, cuda), meta_scope(Device::kMeta, meta);
  const int64_t on_cpu = CurrentLedger(Device::kCpu).CurrentTotal();
  auto allocate = [](Device device) {
    std::vector<Tensor> kept;
    kept.push_back(Tensor::Zeros({3, 5}, {DType::kF32, device, MemoryCategory::kParameters}));
    kept.push_back(Tensor::Empty({1000}, {DType::kF64, device, MemoryCategory::kOptimizer}));
    Tensor::Empty({77}, {DType::kBF16, device, MemoryCategory::kWorkspace});  // freed at once
    kept.push_back(kept[0].Clone(MemoryCategory::kActivations));
    kept.push_back(kept[0].Rows(1, 2));  // a view owns nothing
    return kept;
  };
  {
    const std::vector<Tensor> a = allocate(Device::kCuda), b = allocate(Device::kMeta);
    EXPECT_EQ(cuda.Current(MemoryCategory::kParameters), RoundedBytes(15 * 4));
    EXPECT_EQ(cuda.Current(MemoryCategory::kOptimizer), RoundedBytes(1000 * 8));
    EXPECT_EQ(cuda.Current(MemoryCategory::kWorkspace), 0);
    EXPECT_EQ(cuda.Peak(MemoryCategory::kWorkspace), RoundedBytes(77 * 2));
    EXPECT_EQ(cuda.Current(MemoryCategory::kActivations), RoundedBytes(15 * 4));
    EXPECT_EQ(cuda.CurrentTotal(), meta.CurrentTotal());
    EXPECT_EQ(cuda.PeakTotal(), meta.PeakTotal());
    EXPECT_EQ(CurrentLedger(Device::kCpu).CurrentTotal(), on_cpu);
  }
  EXPECT_EQ(cuda.CurrentTotal(), 0);
}

}  // namespace
}  // namespace choir
