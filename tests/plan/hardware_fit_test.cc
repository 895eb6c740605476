// Times made by the model from known constants: the fit must find constants that predict the same.
#include "plan/hardware_fit.h"

#include <gtest/gtest.h>

#include "plan/collective_time.h"
#include "tests/plan/time_fixture.h"

namespace choir {
namespace {

Work Product(int64_t m, int64_t n, int64_t k) {
  Work work = ProductWork("gemm", m, n, k);
  work.bytes = 4 * static_cast<double>(m * k + k * n + m * n);
  return work;
}

std::vector<TimedWork> Kernels() {
  std::vector<TimedWork> samples;
  for (double bytes = 64; bytes < 1e9; bytes *= 8) {
    samples.push_back({{{.name = "add", .bytes = bytes}}});
  }
  for (const int64_t m : {16, 100, 1024}) {
    for (const int64_t n : {32, 300, 1024}) {
      for (const int64_t k : {16, 128, 1024}) samples.push_back({{Product(m, n, k)}});
    }
  }
  for (const MatmulFormat format : {MatmulFormat::kBF16, MatmulFormat::kFp8Block}) {
    Work product = Product(512, 512, 512);
    product.operands = format;
    samples.push_back({{{.name = "round", .bytes = 1 << 20}, product}});
  }
  Work grouped = Product(1024, 256, 128);
  grouped.kind = WorkKind::kGrouped;
  grouped.groups = 8;
  samples.push_back({{grouped}});
  for (const int64_t n : {64, 256, 1024, 4096}) {
    const auto pairs = static_cast<double>(n * (n + 1) / 2);
    samples.push_back({{{.kind = WorkKind::kAttention,
                         .name = "attention",
                         .flops = 4 * 64 * pairs,
                         .bytes = 1e3 * static_cast<double>(n),
                         .m = n,
                         .n = n,
                         .k = 64}}});
  }
  return samples;
}

Hardware KnownMachine() {
  Hardware h = RoundHardware();
  h.products.full = {5e10, 0.9};
  h.products.bf16 = {5e10, 0.6};
  h.products.fp8_block = {5e10, 0.2};
  h.shape = {.tile_m = 16, .tile_n = 32, .units = 1, .tail_loss = 0, .k_half = 40};
  h.grouped_efficiency = 0.7;
  h.attention = {0.5, 100};
  h.memory = {.bytes = 1e10, .bytes_per_second = 2e10, .half_bytes = 4096};
  h.host.kernel_seconds = 1e-6;
  return h;
}

TEST(HardwareFitTest, ConstantsOfKernelsComeBack) {
  const Hardware known = KnownMachine();
  std::vector<TimedWork> samples = Kernels();
  for (TimedWork& s : samples) s.seconds = PredictSeconds(s, known);
  Hardware found = RoundHardware();
  FitWork(samples, /*threads=*/1, found);
  for (const FitError& error : FitErrors(samples, found)) {
    // The steps of the search: k_half in 1.5, half_bytes in 2.
    EXPECT_LT(error.mean, 0.05) << error.what;
    EXPECT_LT(error.worst, 0.15) << error.what;
  }
  EXPECT_NEAR(found.memory.bytes_per_second, known.memory.bytes_per_second, 1e8);
  EXPECT_NEAR(found.products.bf16.efficiency / found.products.fp8_block.efficiency, 3, 0.3);
  EXPECT_NEAR(found.grouped_efficiency, 0.7, 0.1);
}

TEST(HardwareFitTest, ALossOfOneFormatIsNotOneOfAll) {
  Hardware known = KnownMachine();
  std::vector<TimedWork> samples = Kernels();
  for (TimedWork& s : samples) s.seconds = PredictSeconds(s, known);
  Hardware found = RoundHardware();
  FitWork(samples, 1, found);
  known.products.fp8_block.efficiency /= 4;
  for (TimedWork& s : samples) s.seconds = PredictSeconds(s, known);
  Hardware slower = RoundHardware();
  FitWork(samples, 1, slower);
  EXPECT_NEAR(slower.products.fp8_block.efficiency / found.products.fp8_block.efficiency, 0.25,
              0.01);
  EXPECT_EQ(slower.products.bf16.efficiency, found.products.bf16.efficiency);
}

TEST(HardwareFitTest, ConstantsOfLinksComeBack) {
  Links known;
  known.ranks_per_node = 4;
  known.algorithm = CollectiveAlgorithm::kRing;
  known.intra_node = {
      .bytes_per_second = 8e9, .step_seconds = 2e-6, .message_seconds = 5e-7, .call_seconds = 3e-6};
  known.inter_node = {
      .bytes_per_second = 1e9, .step_seconds = 2e-5, .message_seconds = 1e-6, .call_seconds = 1e-5};
  std::vector<TimedExchange> samples;
  for (const int per_node : {4, 1}) {
    for (const ExchangeKind kind :
         {ExchangeKind::kAllReduce, ExchangeKind::kAllGather, ExchangeKind::kReduceScatter,
          ExchangeKind::kAllToAll, ExchangeKind::kSend}) {
      for (double bytes = 1024; bytes < 1e8; bytes *= 16) {
        TimedExchange s{{kind, "all", per_node == 4 ? 4 : 3, per_node, bytes}};
        s.seconds = ExchangeSeconds(s.item, known);
        samples.push_back(s);
      }
    }
  }
  Links found{.ranks_per_node = 4};
  FitLinks(samples, found);
  for (const FitError& error : FitErrors(samples, found))
    EXPECT_LT(error.worst, 1e-3) << error.what;
  for (const auto& [a, b] : {std::pair(found.intra_node, known.intra_node),
                             std::pair(found.inter_node, known.inter_node)}) {
    EXPECT_NEAR(a.bytes_per_second / b.bytes_per_second, 1, 1e-3);
    EXPECT_NEAR(a.step_seconds / b.step_seconds, 1, 1e-2);
    EXPECT_NEAR(a.call_seconds / b.call_seconds, 1, 1e-2);
  }
}

}  // namespace
}  // namespace choir
