#include "ops/kv_cache.h"

#include <gtest/gtest.h>

#include "ops/attention.h"
#include "ops/elementwise.h"
#include "tensor/tolerance.h"
#include "tests/ops/attention_twin.h"

namespace choir {
namespace {

constexpr int64_t kTokens = 300, kGroups = 2, kHeads = 3, kDim = 20;
const double kScale = 1 / std::sqrt(static_cast<double>(kDim));

// The steps in which tokens arrive.
void ExpectEqualToTraining(const std::vector<int64_t>& steps, DType dtype) {
  Tensor qkv = Tensor::Empty({kTokens, kGroups, kHeads + 2, kDim}, {dtype});
  ConvertInto(qkv, RandomTensor(qkv.shape(), "kv_cache"));
  Tape tape(false);
  auto boundaries = std::make_shared<const std::vector<int32_t>>(
      std::vector<int32_t>{0, static_cast<int32_t>(kTokens)});
  const Tensor expected = CausalAttention(tape, tape.Input(qkv), boundaries, kScale).tensor();
  KvCache cache = KvCache::Empty(kTokens, kGroups, kDim, {dtype});
  const double bound = ErrorBound(dtype, kTokens + kDim);  // values are at most 1
  int64_t at = 0;
  for (int64_t n : steps) {
    const Tensor out = CachedAttention(qkv.Rows(at, n), cache, kScale);
    ASSERT_EQ(out.shape(), (Shape{n, kGroups * kHeads * kDim}));
    Tensor a = Tensor::Empty(out.shape(), {DType::kF64}), b = Tensor::Empty(a.shape(), a.options());
    ConvertInto(a, out);
    ConvertInto(b, expected.Rows(at, n));
    for (int64_t i = 0; i < a.NumElements(); ++i) {
      ASSERT_NEAR(a.data<double>()[i], b.data<double>()[i], bound) << "after " << at << " at " << i;
    }
    at += n;
    ASSERT_EQ(cache.length, at);
  }
  ASSERT_EQ(at, kTokens);
}

TEST(KvCache, TokenByToken) {
  ExpectEqualToTraining(std::vector<int64_t>(kTokens, 1), DType::kF32);
  ExpectEqualToTraining(std::vector<int64_t>(kTokens, 1), DType::kF64);
}

TEST(KvCache, InChunks) {
  ExpectEqualToTraining({300}, DType::kF32);
  ExpectEqualToTraining({1, 99, 100, 2, 98}, DType::kF32);
  ExpectEqualToTraining({255, 1, 1, 43}, DType::kF64);
  ExpectEqualToTraining({7, 0, 293}, DType::kF64);
}

TEST(KvCacheDeathTest, RefusesMoreThanItHolds) {
  KvCache cache = KvCache::Empty(4, kGroups, kDim, {DType::kF64});
  const Tensor qkv = RandomTensor({3, kGroups, 3, kDim}, "full");
  CachedAttention(qkv, cache, kScale);
  EXPECT_DEATH(CachedAttention(qkv, cache, kScale), "cache is full");
}

}  // namespace
}  // namespace choir
