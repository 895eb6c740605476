// The emulated formats are those of the hardware: every code of the CPU's casts is the GPU's.
#include "tensor/format_cast.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

#include "tests/cuda/device_arrays.h"
#include "tests/cuda/hardware_casts.h"

namespace choir {
namespace {

// Every float whose lower bits are one of a few patterns, ties and their neighbours among them: all
// signs, exponents and 11 leading bits of mantissas. No NaN, whose payload is nobody's promise.
std::vector<float> Inputs() {
  std::vector<float> values;
  for (uint32_t high = 0; high < 1u << 20; ++high) {
    for (uint32_t low : {0x000u, 0x001u, 0x7ffu, 0x800u, 0x801u, 0xfffu}) {
      const float x = std::bit_cast<float>(high << 12 | low);
      if (!std::isnan(x)) values.push_back(x);
    }
  }
  return values;
}

template <class Code>
void ExpectSame(NumberFormat format, bool saturate, CudaCast cast) {
  const std::vector<float> values = Inputs();
  const auto n = static_cast<int64_t>(values.size());
  std::vector<Code> mine(values.size());
  std::vector<uint16_t> gpu(values.size());
  Encode(format, values.data(), mine.data(), n, {.saturate = saturate});
  CastOnGpu(cast, values.data(), gpu.data(), n);
  int64_t different = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    if (mine[i] == gpu[i]) continue;
    if (different++ < 5) {
      ADD_FAILURE() << std::hexfloat << values[i] << std::hex << ": " << int{mine[i]}
                    << " on the CPU, " << gpu[i] << " on the GPU";
    }
  }
  EXPECT_EQ(different, 0) << "of " << n;
}

using CudaFormatTest = CudaTest;

TEST_F(CudaFormatTest, SixteenBits) {
  ExpectSame<uint16_t>(NumberFormat::kBF16, false, CudaCast::kBF16);
  ExpectSame<uint16_t>(NumberFormat::kF16, false, CudaCast::kF16);
}

TEST_F(CudaFormatTest, EightBits) {
  ExpectSame<uint8_t>(NumberFormat::kE4M3, false, CudaCast::kE4M3);
  ExpectSame<uint8_t>(NumberFormat::kE5M2, false, CudaCast::kE5M2);
}

TEST_F(CudaFormatTest, EightBitsSaturating) {
  ExpectSame<uint8_t>(NumberFormat::kE4M3, true, CudaCast::kE4M3Saturating);
  ExpectSame<uint8_t>(NumberFormat::kE5M2, true, CudaCast::kE5M2Saturating);
}

TEST_F(CudaFormatTest, FourBits) {
  ExpectSame<uint8_t>(NumberFormat::kE2M1, true, CudaCast::kE2M1);
}

}  // namespace
}  // namespace choir
