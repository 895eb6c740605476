// What kernels report against counts made by hand. That every op reports the same on meta as on the
// CPU is part of CheckOpCase.
#include "ops/work.h"

#include <gtest/gtest.h>

#include <array>
#include <numeric>

#include "ops/attention.h"
#include "ops/attention_blocks.h"
#include "ops/cross_entropy.h"
#include "ops/dispatch.h"
#include "ops/elementwise.h"
#include "ops/grouped_matmul.h"
#include "ops/kv_cache.h"
#include "ops/matmul.h"
#include "ops/rms_norm.h"

namespace choir {
namespace {

constexpr TensorOptions kMeta{DType::kF32, Device::kMeta, MemoryCategory::kActivations};
constexpr double kF32 = 4;

std::vector<Work> Listen(const std::function<void()>& run) {
  std::vector<Work> told;
  const WorkListener listener = [&](const Work& work) { told.push_back(work); };
  const ScopedWorkListener listening(listener);
  run();
  return told;
}

std::vector<Work> OfKind(const std::vector<Work>& told, WorkKind kind) {
  std::vector<Work> some;
  for (const Work& work : told) {
    if (work.kind == kind) some.push_back(work);
  }
  return some;
}

Parameter MetaParameter(const Shape& shape) {
  Parameter p;
  p.name = "w";
  p.value = Tensor::Empty(shape, kMeta);
  p.grad = Tensor::Zeros(shape, kMeta);
  return p;
}

void Backward(Tape& tape, const Var& y) { tape.RunBackward(y, Tensor::Empty(y.shape(), kMeta)); }

TEST(WorkTest, TheInnermostListenerIsTold) {
  const Tensor x = Tensor::Empty({3}, kMeta);
  std::vector<Work> inner;
  const std::vector<Work> outer = Listen([&] {
    inner = Listen([&] { ScaleInPlace(x, 2); });
    AddInto(x, x);
  });
  ScaleInPlace(x, 2);  // nobody listens
  ASSERT_EQ(inner.size(), 1u);
  EXPECT_STREQ(inner[0].name, "scale");
  EXPECT_EQ(inner[0].bytes, 2 * 3 * kF32);
  ASSERT_EQ(outer.size(), 1u);
  EXPECT_STREQ(outer[0].name, "add_scaled");
  EXPECT_EQ(outer[0].bytes, 3 * 3 * kF32);
}

TEST(WorkTest, LinearIsThreeProducts) {
  constexpr int64_t kT = 5, kI = 7, kO = 11;
  Parameter w = MetaParameter({kO, kI});
  for (const bool wants_dx : {true, false}) {
    const std::vector<Work> told =
        OfKind(Listen([&] {
                 Tape tape;
                 const Var x = tape.Input(Tensor::Empty({kT, kI}, kMeta), wants_dx);
                 Backward(tape, Linear(tape, x, w));
               }),
               WorkKind::kMatmul);
    using Dims = std::array<int64_t, 3>;
    const std::vector<Dims> expected =
        wants_dx ? std::vector<Dims>{{kT, kO, kI}, {kT, kI, kO}, {kO, kI, kT}}
                 : std::vector<Dims>{{kT, kO, kI}, {kO, kI, kT}};
    ASSERT_EQ(told.size(), expected.size());
    for (size_t i = 0; i < told.size(); ++i) {
      EXPECT_EQ((Dims{told[i].m, told[i].n, told[i].k}), expected[i]);
      EXPECT_EQ(told[i].flops, 2.0 * kT * kI * kO);
      // The gradient of the weight is added to: read and written.
      const double again = i + 1 == told.size() ? kO * kI : 0;
      EXPECT_EQ(told[i].bytes, kF32 * (kT * kI + kO * kI + kT * kO + again));
      EXPECT_EQ(told[i].operands, MatmulFormat::kFull);
    }
  }
}

TEST(WorkTest, RoundedProductsNameTheirFormat) {
  const auto run = [](MatmulFormat format, Device device) {
    return Listen([&] {
      Tensor value = Tensor::Zeros({130, 140}, {DType::kF32, device});
      Parameter w;
      w.name = "w";
      w.value = value;
      w.grad = value.Clone();
      w.matmul.format = format;
      Tape tape;
      const Var x = tape.Input(Tensor::Zeros({150, 140}, {DType::kF32, device}), true);
      const Var y = Linear(tape, x, w);
      tape.RunBackward(y, Tensor::Zeros(y.shape(), {DType::kF32, device}));
    });
  };
  for (const MatmulFormat format :
       {MatmulFormat::kBF16, MatmulFormat::kF16, MatmulFormat::kMxfp8, MatmulFormat::kFp8Block}) {
    const std::vector<Work> cpu = run(format, Device::kCpu), meta = run(format, Device::kMeta);
    ASSERT_EQ(cpu.size(), meta.size());
    for (size_t i = 0; i < cpu.size(); ++i) {
      EXPECT_STREQ(cpu[i].name, meta[i].name);
      EXPECT_EQ(cpu[i].flops, meta[i].flops);
      EXPECT_EQ(cpu[i].bytes, meta[i].bytes);
    }
    const std::vector<Work> products = OfKind(meta, WorkKind::kMatmul);
    ASSERT_EQ(products.size(), 3u);
    for (const Work& product : products) {
      EXPECT_EQ(product.operands, format);
      EXPECT_EQ(product.flops, 2.0 * 130 * 140 * 150);
    }
    // Both operands of each.
    EXPECT_EQ(OfKind(meta, WorkKind::kMemory).size(), 6u);
  }
}

TEST(WorkTest, ExpertsShareTheirRows) {
  constexpr int64_t kN = 12, kI = 6, kO = 10, kE = 4;
  Parameter w = MetaParameter({kE, kO, kI});
  const Tensor offsets = Tensor::Empty({kE + 1}, {DType::kI32, Device::kMeta});
  const std::vector<Work> told = Listen([&] {
    Tape tape;
    const Var x = tape.Input(Tensor::Empty({kN, kI}, kMeta), true);
    Backward(tape, GroupedLinear(tape, x, w, offsets));
  });
  const std::vector<Work> products = OfKind(told, WorkKind::kGrouped);
  ASSERT_EQ(products.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(products[i].m, kN);
    EXPECT_EQ(products[i].n, i == 1 ? kI : kO);
    EXPECT_EQ(products[i].k, i == 1 ? kO : kI);
    EXPECT_EQ(products[i].groups, kE);
    EXPECT_EQ(products[i].flops, 2.0 * kN * kI * kO);
    EXPECT_EQ(products[i].bytes, kF32 * (kN * (kI + kO) + (i == 2 ? 2 : 1) * kE * kI * kO));
  }
}

// Documents of 5 and 3 tokens: 15 + 6 pairs.
TEST(WorkTest, AttentionCountsVisiblePairs) {
  constexpr int64_t kG = 2, kR = 3, kD = 8;
  const auto boundaries =
      std::make_shared<const std::vector<int32_t>>(std::vector<int32_t>{0, 5, 8});
  EXPECT_EQ(VisiblePairs(*boundaries), 21);
  const std::vector<Work> told =
      OfKind(Listen([&] {
               Tape tape;
               const Var qkv = tape.Input(Tensor::Empty({8, kG, kR + 2, kD}, kMeta), true);
               Backward(tape, CausalAttention(tape, qkv, boundaries, 1));
             }),
             WorkKind::kAttention);
  ASSERT_EQ(told.size(), 2u);
  const double forward = 4.0 * kG * kR * kD * 21;
  EXPECT_EQ(told[0].flops, forward);
  EXPECT_EQ(told[1].flops, 2 * forward);
  const double qkv = 8 * kG * (kR + 2) * kD, out = 8 * kG * kR * kD, lse = 8 * kG * kR;
  EXPECT_EQ(told[0].bytes, kF32 * (qkv + out + lse));
  EXPECT_EQ(told[1].bytes, kF32 * (2 * qkv + 2 * out + lse));
  for (const Work& work : told) {
    EXPECT_EQ(work.m, 8 * kG * kR);
    EXPECT_EQ(work.n, 5);
    EXPECT_EQ(work.k, kD);
  }
}

// A document in two parts costs as much as in one piece, and so does one that grows in a cache.
TEST(WorkTest, PartsOfAttentionAddUp) {
  const auto flops = [](const std::function<void()>& run) {
    double sum = 0;
    for (const Work& work : Listen(run)) sum += work.flops;
    return sum;
  };
  const Tensor qkv = Tensor::Empty({9, 2, 4, 8}, kMeta);
  const double whole = flops([&] { AttendCausal(qkv, {0, 9}, 1); });
  const double parts = flops([&] {
    const AttentionResult result = AttendCausal(qkv, {0, 4, 9}, 1);
    AttendBlocks({qkv, qkv, {{4, 5, 0, 4}}, 1, nullptr}, result);
  });
  EXPECT_EQ(parts, whole);
  const double cached = flops([&] {
    KvCache cache = KvCache::Empty(9, 2, 8, kMeta);
    CachedAttention(qkv.Rows(0, 4), cache, 1);
    CachedAttention(qkv.Rows(4, 5), cache, 1);
  });
  EXPECT_EQ(cached, whole);
}

TEST(WorkTest, TheLossIsThreeProductsOfEachChunk) {
  constexpr int64_t kT = 10, kC = 6, kV = 20;
  Parameter head = MetaParameter({kV, kC});
  const Tensor labels = Tensor::Empty({kT}, {DType::kI32, Device::kMeta});
  const std::vector<Work> told =
      OfKind(Listen([&] {
               Tape tape;
               const Var h = tape.Input(Tensor::Empty({kT, kC}, kMeta), true);
               CrossEntropyOptions options;
               options.chunk_rows = 4;
               const Var loss = CrossEntropy(tape, h, head, labels, 1, options).loss;
               tape.RunBackward(loss, ScalarTensor(1, kMeta));
             }),
             WorkKind::kMatmul);
  ASSERT_EQ(told.size(), 9u);
  const double flops = std::accumulate(told.begin(), told.end(), 0.0,
                                       [](double sum, const Work& w) { return sum + w.flops; });
  EXPECT_EQ(flops, 3 * 2.0 * kT * kC * kV);
  EXPECT_EQ(told[8].k, 2) << "rows of the last chunk";
}

TEST(WorkTest, ANormMovesItsTensors) {
  Parameter w = MetaParameter({16});
  const std::vector<Work> told = Listen([&] {
    Tape tape;
    const Var x = tape.Input(Tensor::Empty({3, 16}, kMeta), true);
    Backward(tape, RmsNorm(tape, x, w, 1e-5));
  });
  ASSERT_GE(told.size(), 2u);
  EXPECT_EQ(told[0].bytes, kF32 * (2 * 3 * 16 + 16));
  EXPECT_EQ(told[1].bytes, kF32 * (3 * 3 * 16 + 16));
  for (const Work& work : told) EXPECT_EQ(work.flops, 0);
}

}  // namespace
}  // namespace choir
