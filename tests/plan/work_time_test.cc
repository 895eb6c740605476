#include "plan/work_time.h"

#include <gtest/gtest.h>

#include "tests/plan/time_fixture.h"

namespace choir {
namespace {

Work Product(int64_t m, int64_t n, int64_t k) {
  Work work{.kind = WorkKind::kMatmul, .m = m, .n = n, .k = k, .operands = MatmulFormat::kBF16};
  work.flops = 2.0 * static_cast<double>(m * n * k);
  return work;
}

TEST(WorkTimeTest, TheSlowerOfFlopsAndBytes) {
  const Hardware hardware = RoundHardware();
  Work work = Product(10, 10, 10);  // 2000 FLOPs, 2 seconds
  EXPECT_DOUBLE_EQ(WorkSeconds(work, hardware), 2);
  work.bytes = 300;
  EXPECT_DOUBLE_EQ(WorkSeconds(work, hardware), 3);
  EXPECT_DOUBLE_EQ(WorkSeconds({.kind = WorkKind::kOptimizer, .flops = 1e9, .bytes = 50}, hardware),
                   0.5);
  EXPECT_EQ(WorkSeconds({}, hardware), 0);
}

TEST(WorkTimeTest, PartlyFilledTilesAreWholeOnes) {
  Hardware hardware = RoundHardware();
  hardware.shape.tile_m = 8;
  hardware.shape.tile_n = 4;
  // 10 x 10 of 16 x 12.
  EXPECT_DOUBLE_EQ(ProductShapeShare(Product(10, 10, 10), hardware.shape), 100.0 / 192);
  EXPECT_DOUBLE_EQ(WorkSeconds(Product(10, 10, 10), hardware), 2 * 1.92);
}

TEST(WorkTimeTest, AnUnfilledRoundOfTilesIsCharged) {
  ProductShape shape{.tile_m = 1, .tile_n = 1, .units = 8, .tail_loss = 0.5};
  // 12 tiles, a round and a half; half of the empty half round is lost.
  EXPECT_DOUBLE_EQ(ProductShapeShare(Product(12, 1, 1), shape), 1.5 / 1.75);
  EXPECT_DOUBLE_EQ(ProductShapeShare(Product(16, 1, 1), shape), 1);
}

TEST(WorkTimeTest, ShortInnerLengthsAreSlow) {
  ProductShape shape{.tile_m = 1, .tile_n = 1, .k_half = 30};
  EXPECT_DOUBLE_EQ(ProductShapeShare(Product(4, 4, 90), shape), 0.75);
}

TEST(WorkTimeTest, GroupsShareTheirRowsAndProductsDoNot) {
  ProductShape shape{.tile_m = 8, .tile_n = 1};
  Work work = Product(24, 2, 2);
  work.groups = 4;
  EXPECT_DOUBLE_EQ(ProductShapeShare(work, shape), 1);
  work.kind = WorkKind::kGrouped;  // 6 rows each
  EXPECT_DOUBLE_EQ(ProductShapeShare(work, shape), 0.75);
  Hardware hardware = RoundHardware();
  hardware.grouped_efficiency = 0.5;
  EXPECT_DOUBLE_EQ(WorkSeconds(work, hardware), 2 * work.flops / 1000);
}

TEST(WorkTimeTest, EfficienciesAndSizes) {
  Hardware hardware = RoundHardware();
  hardware.products.bf16.efficiency = 0.5;
  hardware.memory.efficiency = 0.8;
  hardware.memory.half_bytes = 40;
  hardware.attention = {.efficiency = 0.5, .n_half = 10};
  EXPECT_DOUBLE_EQ(WorkSeconds(Product(10, 10, 10), hardware), 4);
  EXPECT_DOUBLE_EQ(WorkSeconds({.bytes = 40}, hardware), 1);
  Work core = Product(10, 10, 10);
  core.kind = WorkKind::kAttention;
  EXPECT_DOUBLE_EQ(WorkSeconds(core, hardware), 8);
  hardware.attention.width_half = 30;
  EXPECT_DOUBLE_EQ(WorkSeconds(core, hardware), 8 * 4);
}

}  // namespace
}  // namespace choir
