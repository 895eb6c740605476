#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tensor/tolerance.h"

namespace choir {
namespace {

TEST(DType, SizesNamesAndTypes) {
  struct Row {
    DType dtype;
    int64_t size;
    const char* name;
    bool is_float;
  };
  for (const Row& row : {Row{DType::kF64, 8, "f64", true}, Row{DType::kF32, 4, "f32", true},
                         Row{DType::kBF16, 2, "bf16", true}, Row{DType::kF16, 2, "f16", true},
                         Row{DType::kI32, 4, "i32", false}}) {
    EXPECT_EQ(SizeOf(row.dtype), row.size);
    EXPECT_EQ(Name(row.dtype), row.name);
    EXPECT_EQ(IsFloat(row.dtype), row.is_float);
  }
  EXPECT_EQ(DTypeOf<double>(), DType::kF64);
  EXPECT_EQ(DTypeOf<const float>(), DType::kF32);
  EXPECT_EQ(DTypeOf<BFloat16>(), DType::kBF16);
  EXPECT_EQ(DTypeOf<Float16>(), DType::kF16);
  EXPECT_EQ(DTypeOf<int32_t>(), DType::kI32);
}

TEST(DType, DispatchCallsWithTheTypeComputedIn) {
  auto size = []<class T>() { return sizeof(T); };
  EXPECT_EQ(DispatchFloat(DType::kF64, size), 8u);
  EXPECT_EQ(DispatchFloat(DType::kF32, size), 4u);
}

TEST(DTypeDeathTest, NoKernelComputesInStorageFormats) {
  EXPECT_DEATH(DispatchFloat(DType::kBF16, []<class T>() {}), "no kernel computes in bf16");
  EXPECT_DEATH(DispatchFloat(DType::kI32, []<class T>() {}), "no kernel computes in i32");
}

TEST(Tolerance, RoundoffIsHalfTheDistanceToTheNextValue) {
  EXPECT_EQ(1 + 2 * UnitRoundoff(DType::kF64), std::nextafter(1.0, 2.0));
  EXPECT_EQ(1 + 2 * UnitRoundoff(DType::kF32), static_cast<double>(std::nextafter(1.0f, 2.0f)));
  EXPECT_EQ(1 + 2 * UnitRoundoff(DType::kF16), ToFloat(Float16{0x3c01}));
  EXPECT_EQ(1 + 2 * UnitRoundoff(DType::kBF16), ToFloat(BFloat16{0x3f81}));
  EXPECT_EQ(UnitRoundoff(DType::kI32), 0);
  // Four times the length, twice the bound.
  EXPECT_NEAR(ErrorBound(DType::kF32, 4 * 1000 - 16) / ErrorBound(DType::kF32, 1000 - 16), 2,
              1e-12);
}

}  // namespace
}  // namespace choir
